"""Options that several commands share."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from foundationx.datasets.cards.catalog import Catalog

PIPE_WIDTH = 160
"""Columns of a table that is not shown on a terminal."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Configuration file, data root, and changes to the configuration."""
    add_config_file(parser)
    add_data_root(parser)
    add_changes(parser)


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Configuration file."""
    parser.add_argument(
        "config",
        type=Path,
        help="Python configuration file (it is run as code), or the name of one that comes with the package, "
        "such as quickstart/phantom",
    )


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Changes to the configuration."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change values of the configuration, e.g. schedule.cycles=2 runtime.batch_size=4",
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Folder of the datasets."""
    parser.add_argument("--data-root", type=Path, default=Path("data"), metavar="DIR", help="folder with the datasets")
    add_registry(parser)


def add_shard(parser: argparse.ArgumentParser, text: str) -> None:
    """One share of the work.

    Args:
        parser: Parser of the command.
        text: What the share is, for the help.
    """
    parser.add_argument("--shard", metavar="I/N", help=f"{text}; for the jobs of a cluster's array (default: all)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Student or teacher."""
    parser.add_argument(
        "--model", choices=["student", "teacher"], default="teacher", help="which of the two models to use"
    )


def add_allow_code(parser: argparse.ArgumentParser) -> None:
    """Trust in the source of the file."""
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="trust the file's source: build whatever network it names, which may run code (default: known ones only)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Device to compute on."""
    parser.add_argument(
        "--device", default="auto", help="device of torch, such as cpu or cuda:0; auto uses a GPU if there is one"
    )


def add_tables(parser: argparse.ArgumentParser) -> None:
    """Public tables of datasets."""
    parser.add_argument(
        "--table",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public table of datasets (.csv or .json of Project Imaging-X); may be repeated",
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


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Folders of cards outside of the project."""
    parser.add_argument(
        "--registry",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="further folder of cards, as in the environment variable FOUNDATIONX_REGISTRY; may be repeated",
    )


def use_registries(options: argparse.Namespace) -> None:
    """Adds the folders of ``--registry`` to the environment, which processes of a run inherit."""
    if folders := getattr(options, "registry", []):
        import os

        from foundationx.datasets.cards.catalog import ENVIRONMENT

        known = [folder for folder in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if folder]
        os.environ[ENVIRONMENT] = os.pathsep.join([*known, *(str(folder.resolve()) for folder in folders)])


def print_card_faults(catalog: Catalog) -> None:
    """Names every card that was passed over because it is invalid, on standard error."""
    for name, error in catalog.faults().items():
        print(f"passed over: card {name}\n{textwrap.indent(str(error), '  ')}", file=sys.stderr)


def wide_console() -> Console:
    """A console whose tables are not squeezed into 80 columns if the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)
