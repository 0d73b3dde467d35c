"""``foundationx completion``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "print a script that completes foundationx commands in a shell"
EXAMPLE = "foundationx completion bash > ~/.local/share/bash-completion/completions/foundationx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="shell to complete in")


def run(options: argparse.Namespace) -> None:
    """Prints the script."""
    import shtab

    from foundationx.apps.cli.main import build_parser

    parser = build_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, options.shell))


def _complete_files(parser: argparse.ArgumentParser, files: dict[str, Any]) -> None:
    """Arguments that are paths complete file names."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_files(inner, files)
        elif action.type is Path:
            action.complete = files  # type: ignore[attr-defined]  # where shtab looks
