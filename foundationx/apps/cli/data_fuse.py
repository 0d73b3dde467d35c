"""``foundationx data fuse``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from foundationx.apps.cli.options import add_registry, add_tables, print_card_faults, wide_console

if TYPE_CHECKING:
    from foundationx.datasets.fusion.fuse import Fusion

HELP = "choose datasets by a recipe and write a runnable configuration with audit, alignment and licence report"
EXAMPLE = "foundationx data fuse recipes/commercial_use --out fused --data-root data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("recipe", type=Path, help="recipe (YAML file), or the name of one that comes with the package")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add_tables(parser)
    add_registry(parser)
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="train only on datasets found here (default: all selected)"
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="trust the recipe's source: run.base may name Python files, which are run (default: presets only)",
    )
    parser.add_argument(
        "--annotations",
        action="store_true",
        help="also write the annotations of all datasets found under --data-root, one JSON-lines file per task",
    )
    parser.add_argument("--all", action="store_true", help="also print dropped datasets that only a table lists")


def run(options: argparse.Namespace) -> int:
    """Writes the folder and prints what was decided; the exit code is 0 if there is a configuration."""
    from foundationx.core.atomic_write import require_folder
    from foundationx.core.errors import ConfigError, DataError
    from foundationx.core.resources import find_config
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.datasets.fusion.annotation_files import write_annotations
    from foundationx.datasets.fusion.fuse import fuse
    from foundationx.datasets.fusion.recipe import load_recipe
    from foundationx.datasets.fusion.write import write_fusion

    if options.annotations and options.data_root is None:
        raise ConfigError("--annotations", "no --data-root is given", "the folder of the datasets", "add --data-root")
    if options.data_root is not None and not options.data_root.is_dir():
        found = "there is no such folder"
        raise DataError(str(options.data_root), found, "the folder that holds the datasets", "--data-root")
    require_folder(options.out)
    catalog = Catalog()
    recipe = load_recipe(find_config(options.recipe), catalog.vocabulary)
    fusion = fuse(recipe, catalog, options.table, options.data_root)
    print_card_faults(catalog)
    console = wide_console()
    try:
        write_fusion(
            fusion, options.out, allow_code=options.allow_code
        )  # first: what is printed may be cut off by a pager
    finally:
        _print_decisions(fusion, console, options.all)
        _print_groups(fusion, console)
        _print_shared(fusion, console)
    if options.annotations:
        for name, count in write_annotations(fusion.entries, options.data_root, options.out).items():
            console.print(f"{name}: {count:,} images", highlight=False)
    console.print(f"written: {options.out}", highlight=False)
    console.print(f"next: foundationx train {options.out / 'config.py'} --data-root ...", highlight=False)
    return 0


def _print_shared(fusion: Fusion, console: Console) -> None:
    """Selected datasets that show the same images, and whether the split knows the patients of both."""
    from foundationx.datasets.relations import held_out, matched_groups, unmatched_groups

    cards = [entry.card for entry in fusion.entries if entry.card is not None and entry.tasks]
    for group in matched_groups(cards):
        text = f"{', '.join(group)} share patients, by name: each of them is in one split everywhere"
        console.print(text, highlight=False, soft_wrap=True)
    for name, other in held_out(cards):
        text = f"{name} has no image to train on beside {other}, whose official split holds all of them out: deny one"
        fix = f"of the two in the recipe, or train on them by allow_test = ['{other}'] in the configuration"
        console.print(f"{text} {fix}", highlight=False, soft_wrap=True)
    for group in unmatched_groups(cards):
        text = f"{', '.join(group)} show the same images and name their patients differently: held-out images of one"
        fix = "may be trained on by another; `foundationx data audit CONFIG --data-root DIR --apply` finds them"
        console.print(f"{text} {fix}", highlight=False, soft_wrap=True)


def _print_decisions(fusion: Fusion, console: Console, everything: bool) -> None:
    table = Table(title=f"{fusion.recipe.name}: {len(fusion.kept)} of {len(fusion.decisions)} datasets selected")
    for column in ("dataset", "decision", "trains", "why"):
        table.add_column(column)
    trains = {entry.name: entry for entry in fusion.entries}
    hidden = 0
    for decision in sorted(fusion.decisions, key=lambda one: not one.kept):
        if not decision.kept and decision.record.card is None and not everything:
            hidden += 1
            continue
        entry = trains.get(decision.record.name) if decision.kept else None
        tasks = ", ".join(task.value for task in entry.tasks) if entry else ""
        why = "; ".join(decision.reasons or decision.warned) or (entry.obstacle if entry else "")
        table.add_row(decision.record.name, "kept" if decision.kept else "dropped", tasks or "-", why)
    console.print(table)
    if hidden:
        console.print(f"{hidden:,} more are dropped that only a table lists: audit.csv, or --all", highlight=False)
    differing = sum(bool(decision.record.differences) for decision in fusion.decisions)
    if differing:
        console.print(f"{differing} cards and tables disagree: audit.csv, column differences", highlight=False)


def _print_groups(fusion: Fusion, console: Console) -> None:
    """The portal's summary: one row a modality."""
    table = Table(title="selected datasets by modality")
    for column in ("modality", "datasets", "images", "organisations", "labelled", "clashes"):
        table.add_column(column, justify="left" if column in ("modality", "clashes") else "right")
    for one in fusion.groups:
        if one.level == "modality":
            images = f"{one.images:,}" + (f" + {one.images_unknown} unknown" if one.images_unknown else "")
            share = "unknown" if one.labelled_share is None else f"{one.labelled_share:.3f}"
            table.add_row(one.modality, str(one.datasets), images, str(one.organisations), share, one.clash)
    console.print(table)
