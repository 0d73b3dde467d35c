"""``foundationx data phantoms``: the phantom datasets, or copies of published ones."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "generate the phantom datasets, or phantom copies of published datasets in their layout"
EXAMPLE = "foundationx data phantoms data/phantoms --images 100"

DATASETS, COPIES = 300, 24
"""Images that are generated unless the user says how many."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("folder", type=Path, help="data root to write to")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--card", action="append", default=[], metavar="CARD", help="copy this dataset; may be repeated")
    what.add_argument(
        "--config", type=Path, metavar="FILE", help="copy all datasets of this configuration (default: none)"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help=f"images per dataset (default: {DATASETS}; {COPIES} in a copy)"
    )
    parser.add_argument("--size", type=int, default=256, metavar="PIXELS", help="height and width of an image")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated patients")


def run(options: argparse.Namespace) -> int:
    """Writes what was asked for.

    Raises:
        CardError: there is no such card, or it has something that cannot be imitated.
        ConfigError: the configuration is faulty, or puts a dataset into a folder of its own.
        DataError: the folder holds something else already.
    """
    names = options.card if options.config is None else _cards(options.config)
    if not names:
        from foundationx.phantoms.write import write_phantom_datasets

        images = DATASETS if options.images is None else options.images
        write_phantom_datasets(options.folder, images, size=options.size, seed=options.seed)
        print(f"phantom datasets: {options.folder}")
        return 0
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.phantoms.copy import write_copies

    images = COPIES if options.images is None else options.images
    written = write_copies(options.folder, names, Catalog(), images=images, size=options.size, seed=options.seed)
    print(f"phantom copies of {', '.join(written)}: {options.folder}")
    return 0


def _cards(config_file: Path) -> list[str]:
    """Cards of a configuration."""
    from foundationx.core.config.load import load_config
    from foundationx.core.errors import ConfigError

    datasets = load_config(config_file).datasets
    for place, dataset in enumerate(datasets):
        if dataset.root is not None:
            where, fix = f"{config_file}: datasets.{place}.root", "leave root out for a trial on copies"
            raise ConfigError(where, f"found {dataset.root!r}", "copies stand in the folders of their cards", fix)
    return [dataset.card for dataset in datasets]
