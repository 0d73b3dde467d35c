"""``foundationx data audit``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from foundationx.apps.cli.options import add_data_root, add_shard, wide_console

if TYPE_CHECKING:
    from foundationx.core.config.run import RunConfig

HELP = "find duplicate patients and images across splits and datasets"
EXAMPLE = "foundationx data audit quickstart/phantom --data-root data/phantoms --apply"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("what", nargs="+", metavar="WHAT", help="a configuration, or cards: NAME or NAME=FOLDER")
    add_data_root(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for tables and pictures (default: audit)")
    add_shard(parser, "only make the fingerprints of this share of the images; an audit without --shard joins them")
    parser.add_argument(
        "--apply",
        action="store_true",
        help="write into the folder audit of the data root: every run without an own `exclude` leaves its list out",
    )


def run(options: argparse.Namespace) -> int:
    """Prints and writes the duplicates; exit code 1 if something held out is trained on and the list is not applied."""
    from foundationx.core.atomic_write import require_folder
    from foundationx.core.progress import Tenths
    from foundationx.core.shards import Shard
    from foundationx.curation.audit.audit import audit, exclusions, fingerprint_shard
    from foundationx.curation.audit.report import SPLIT_PAIRS, counts, write_audit
    from foundationx.curation.issues import report_lines
    from foundationx.data.datamodule import open_datasets
    from foundationx.datasets.cards.catalog import Catalog

    folder, shard = _folder(options), Shard.parse(options.shard) if options.shard else None
    require_folder(folder)
    console, catalog = wide_console(), Catalog()
    data_module = open_datasets(config_of(options.what), options.data_root, catalog)
    cards = [catalog.card(dataset.card) for dataset in data_module.config.datasets]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        stages: dict[str, TaskID] = {}
        lines = Tenths()

        def watch(stage: str, advance: int, total: int) -> None:
            if not console.is_terminal:
                lines.advance(stage, advance, total)
                return
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total)
            progress.update(stages[stage], advance=advance, total=total)

        store = folder / "fingerprints.sqlite"
        if shard is not None:
            part, count = fingerprint_shard(data_module, store, shard, watch)
            console.print(f"{count:,} fingerprints: {part}", highlight=False, soft_wrap=True)
            return 0
        result = audit(data_module, store, cards, watch)
    table = Table(title=f"pairs among {len(result.items):,} images")
    for column in ("match", "datasets", *SPLIT_PAIRS):
        table.add_column(column, justify="right" if column in SPLIT_PAIRS else "left")
    for row in counts(result.pairs):
        table.add_row(row["match"], row["datasets"], *(str(row["splits"].get(splits, "")) for splits in SPLIT_PAIRS))
    console.print(table)
    for line in report_lines(result.issues, "audit.json lists all"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    written = write_audit(result, folder)
    excluded = {(entry.dataset, entry.image) for entry in exclusions(result.items, result.pairs)}
    console.print(f"{len(excluded):,} training images to leave out: {folder / 'exclude.csv'}", highlight=False)
    console.print("written: " + ", ".join(str(path) for path in written), highlight=False, soft_wrap=True)
    if options.apply:
        console.print(f"applied: runs on {options.data_root} leave them out, unless they name a list", highlight=False)
    return 1 if excluded and not options.apply else 0


def _folder(options: argparse.Namespace) -> Path:
    """Where the audit is written. Raises ConfigError: both ``--out`` and ``--apply`` are given."""
    from foundationx.core.errors import ConfigError
    from foundationx.datasets.exclusion import APPLIED

    if options.apply and options.out is not None:
        found = "is given together with --apply, which writes into the data root"
        raise ConfigError("--out", found, "one of the two", "leave --out away")
    folder: Path = options.data_root / APPLIED.parent if options.apply else options.out or Path("audit")
    return folder


def config_of(what: list[str]) -> RunConfig:
    """A run with all images of its datasets: without limits and without an exclusion list.

    Args:
        what: A configuration (file, or name of one of the package), or cards: NAME or NAME=FOLDER.
    """
    from foundationx.core.config.load import load_config, parse_config
    from foundationx.core.config.run import DatasetConfig
    from foundationx.core.resources import find_config, packaged_configs

    if len(what) == 1 and (what[0].endswith(".py") or what[0] in packaged_configs()):
        config = load_config(find_config(what[0]))
        datasets = tuple(dataset.model_copy(update={"limit": None}) for dataset in config.datasets)
        return config.model_copy(update={"datasets": datasets, "exclude": None})
    parts = [text.partition("=") for text in what]
    values = {
        "name": "audit",
        "model": {"backbone": {"type": "none"}},  # nothing is built of it
        "datasets": [DatasetConfig(card=name, root=root or None) for name, _, root in parts],
        "schedule": {"cycles": 1},
    }
    return parse_config(values, "cards")
