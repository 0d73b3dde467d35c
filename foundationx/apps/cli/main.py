"""The ``foundationx`` command. Every command is one file ``command_NAME.py`` of this folder."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from foundationx import __version__
from foundationx.apps.cli.options import use_registries
from foundationx.apps.cli.parsers import HelpFormatter, add_command
from foundationx.core.errors import DiskError, FoundationXError
from foundationx.core.extensions import Extensions, module_with
from foundationx.core.signals import interruptible

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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are no UTF-8
    options = build_parser().parse_args(arguments)
    with interruptible() as interruption:
        try:
            use_registries(options)
            return options.run(options) or 0
        except BrokenPipeError:  # the reader of our output (head, less) has gone
            return 0
        except KeyboardInterrupt:
            return _stopped()
        except Exception as error:
            if interruption.requested:  # an interruption that a library or a worker process turned into an error
                return _stopped()
            return _fault(_as_ours(error, options.command))


def _stopped() -> int:
    print("foundationx: interrupted; the same command goes on or begins again", file=sys.stderr)
    return STOPPED


def _as_ours(error: Exception, command: str) -> FoundationXError:
    """The error, if it is one that the user can fix; else it is raised, with its stack trace."""
    if isinstance(error, FoundationXError):
        return error
    if isinstance(error, OSError):  # a file that no part of the program expects to be missing, forbidden, too long ...
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else command
        expected, fix = "a file or folder that can be used", "check path, permissions and disk"
        return DiskError(where, error.strerror or str(error), expected, fix)
    raise error


def _fault(error: FoundationXError) -> int:
    print(f"foundationx: {type(error).__name__}\n{error}", file=sys.stderr)
    return FAULT


if __name__ == "__main__":
    sys.exit(main())
