"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

PIPE_WIDTH = 160
"""Columns of a table that is not shown on a terminal."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Configuration file, changes to it, and where the data are."""
    parser.add_argument("config", type=Path, help="Python configuration file (it is run as code)")
    add_data_root(parser)
    add_changes(parser)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Changes to the configuration."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change values, e.g. schedule.cycles=2 runtime.batch_size=4",
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Where the datasets are."""
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="folder that holds the datasets (data)")


def add_tables(parser: argparse.ArgumentParser) -> None:
    """Public tables of datasets."""
    parser.add_argument(
        "--table",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public table of datasets (.csv or .json of Project Imaging-X); may stand several times",
    )


def parse_options(pairs: list[str]) -> dict[str, object]:
    """``key=value`` pairs in OpenMMLab's notation: numbers, booleans, lists and tuples are recognised.

    Raises:
        ConfigError: a pair has no equals sign.
    """
    from foundationx.core.errors import ConfigError

    parser = argparse.ArgumentParser(add_help=False)
    from foundationx.core.openmmlab import DictAction

    for pair in pairs:
        if "=" not in pair:
            raise ConfigError("--cfg-options", f"found {pair!r}", "KEY=VALUE")
    parser.add_argument("--pairs", nargs="*", action=DictAction)
    return parser.parse_args(["--pairs", *pairs]).pairs or {} if pairs else {}


def wide_console() -> Console:
    """A console whose tables are not squeezed into 80 columns where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)
