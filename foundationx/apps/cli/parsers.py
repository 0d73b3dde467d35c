"""Parsers of commands: every one has a text, an example, and shows the default of each option."""

from __future__ import annotations

import argparse
from types import ModuleType

OFF = "off"
"""Shown as default of a switch."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the example, and adds the default to the help of each option."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return (action.help or "") + default_text(action)


def default_text(action: argparse.Action) -> str:
    """The default as the help shows it: " (default: ...)"; empty if the help contains it, or there is none.

    Args:
        action: Option or positional argument.
    """
    help_text = action.help or ""
    silent = action.required or isinstance(action, argparse._HelpAction | argparse._VersionAction)
    if silent or "default:" in help_text or action.default is None:
        return ""
    if isinstance(action, argparse._StoreTrueAction):
        return f" (default: {OFF})"
    if action.default == []:
        return " (default: none)"
    return f" (default: {action.default})"


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: ModuleType
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
        commands: Subparsers to add to.
        name: Name on the command line.
        module: Has ``HELP`` (one line), ``EXAMPLE`` (commands to type), ``add_arguments(parser)`` and ``run(options)``.

    Returns:
        The command's parser.
    """
    help_text: str = module.HELP
    parser = commands.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=HelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser
