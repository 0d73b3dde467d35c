"""``foundationx data``: every action is one file ``data_ACTION.py`` of this folder."""

from __future__ import annotations

import argparse
from types import ModuleType

from foundationx.apps.cli.parsers import add_command
from foundationx.core.extensions import Extensions, module_with

HELP = "datasets: list and show cards, check downloads, find duplicates, fuse datasets, write phantoms"
EXAMPLE = "foundationx data list"

ACTIONS: Extensions[ModuleType] = Extensions(
    "action",
    "foundationx.apps.cli",
    module_with("HELP", "EXAMPLE", "add_arguments", "run"),
    pattern="data_*.py",
    name_of=lambda path: path.stem.removeprefix("data_"),
)
"""Every action of ``foundationx data``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action", help="what to do")
    for name, module in ACTIONS.all().items():
        add_command(actions, name, module).set_defaults(run_action=module.run)


def run(options: argparse.Namespace) -> int:
    """Carries out the action."""
    code: int = options.run_action(options)
    return code
