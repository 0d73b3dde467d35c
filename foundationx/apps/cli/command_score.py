"""``foundationx score``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from foundationx.apps.cli.options import add_data_root, add_model, wide_console

if TYPE_CHECKING:
    from foundationx.core.types import TaskKey

HELP = "score predictions that were made elsewhere, a CSV table, against the truth of a card"
EXAMPLE = "foundationx score table.csv --card nih_chestxray14 --data-root data --beside work_dirs/run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "table",
        type=Path,
        help="image labels: image,class,score, or image and a column for each class; boxes: "
        "image,class,score,x1,y1,x2,y2 in pixels of the image; masks: image,class,mask (a file, or empty)",
    )
    parser.add_argument("--card", required=True, metavar="NAME", help="card that holds the truth")
    parser.add_argument("--task", metavar="TASK", help="task of the card (default: its only one)")
    add_data_root(parser)
    parser.add_argument("--root", metavar="DIR", help="the dataset's folder below the data root (default: the card's)")
    parser.add_argument(
        "--split",
        choices=["train", "val", "test", "all"],
        default="test",
        help="split to score; val as well, into the same --out, chooses thresholds; all: every image",
    )
    parser.add_argument(
        "--run",
        dest="of_run",
        type=Path,
        metavar="DIR",
        help="run whose split of patients is used (default: that of --beside, else the card's)",
    )
    parser.add_argument(
        "--beside", nargs="+", type=Path, default=[], metavar="DIR", help="runs to compare with; their splits are used"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side at which masks are compared (default: the run's, or 224)"
    )
    parser.add_argument(
        "--missing-is-empty", action="store_true", help="an image without a row has no box (default: an error)"
    )
    add_model(parser)
    parser.add_argument(
        "--repeats", type=int, default=1000, help="bootstrap samples, drawn by patient; 0: no intervals"
    )
    parser.add_argument("--all", action="store_true", help="show every class, and every point of FROC")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for predictions/, metrics.json ... (default: TABLE_scored)"
    )


def run(options: argparse.Namespace) -> None:
    """Scores the table, stores the predictions and prints metrics with intervals, beside those of runs."""
    from dataclasses import replace

    from foundationx.apps.run.scoring import score_table
    from foundationx.core.atomic_write import require_folder
    from foundationx.core.types import Split
    from foundationx.evaluation.compare.compare import compare
    from foundationx.evaluation.compare.table import chosen, markdown
    from foundationx.evaluation.evaluator import measure
    from foundationx.evaluation.stored import store, stored_thresholds

    out = options.out or options.table.with_name(f"{options.table.stem}_scored")
    require_folder(out)
    split = Split.TEST if options.split == "all" else Split(options.split)
    run_folder = options.of_run or (options.beside[0] if options.beside else None)
    scored = score_table(
        options.table,
        _key(options.card, options.task),
        options.data_root,
        split=split,
        everyone=options.split == "all",
        run=run_folder,
        image_size=options.image_size or _image_size(run_folder),
        root=options.root,
        missing_is_empty=options.missing_is_empty,
        model=options.model,
    )
    predictions = scored.predictions
    thresholds = {} if split is Split.VAL else stored_thresholds(out, [predictions.key], [options.model], 0)
    store(out, measure([predictions], thresholds))
    print(f"{len(predictions):,} images of {predictions.key}, {options.split}, stored in {out}")
    if scored.passed_over:
        print(f"{scored.passed_over:,} images of the table are not in this split and are not scored")
    comparison = compare([out, *options.beside], split=split, model=options.model, repeats=options.repeats)
    comparison = chosen(comparison, None, options.all)
    rows = [row for row in comparison.rows if row.head == predictions.key]
    wide_console().print(markdown(replace(comparison, rows=rows)), markup=False, soft_wrap=True)


def _key(card: str, task: str | None) -> TaskKey:
    """The task of that name, or the card's only one."""
    from foundationx.apps.api import task_named
    from foundationx.core.types import TaskKey
    from foundationx.datasets.cards.catalog import Catalog

    return TaskKey(card, task_named(Catalog(), card, task))


def _image_size(run: Path | None) -> int:
    """The image size of a run, or 224."""
    from foundationx.core.workdir import WorkDir

    value = WorkDir(run).read_json("config.json", {}).get("image_size") if run is not None else None
    return value if isinstance(value, int) else 224
