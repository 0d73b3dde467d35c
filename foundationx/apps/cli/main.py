"""The ``foundationx`` command. Every command is one file ``command_NAME.py`` of this folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from foundationx import __version__
from foundationx.apps.cli.parsers import HelpFormatter, add_command
from foundationx.core.errors import FoundationXError
from foundationx.core.extensions import Extensions, module_with

FAULT = 2
"""Exit code for an error that the user can fix."""
STOPPED = 130
"""Exit code of training that was asked to stop before its end."""


COMMANDS: Extensions[ModuleType] = Extensions(
    "command",
    "foundationx.apps.cli",
    module_with("HELP", "EXAMPLE", "add_arguments", "run"),
    pattern="command_*.py",
    name_of=lambda path: path.stem.removeprefix("command_"),
)
"""Every command: a module with ``HELP``, ``EXAMPLE``, ``add_arguments(parser)`` and ``run(options)``."""


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command that can be loaded."""
    parser = argparse.ArgumentParser(
        prog="foundationx",
        description="One foundation model on many differently annotated chest X-ray datasets.",
        epilog="example:\n  foundationx demo\n  foundationx train quickstart/phantom --data-root data/phantoms",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"foundationx {__version__}", help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command", help="what to do")
    for name, module in COMMANDS.all().items():
        add_command(commands, name, module)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; errors that the user can fix are printed without a stack trace."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except FoundationXError as error:
        print(f"foundationx: {type(error).__name__}\n{error}", file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:  # training takes the first one itself and saves; this is the second, or another command
        print("foundationx: interrupted", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        return 0


if __name__ == "__main__":
    sys.exit(main())
