"""``foundationx data check``: arguments and output."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track

from foundationx.apps.cli.options import add_data_root, parse_options, print_card_faults, wide_console

if TYPE_CHECKING:
    from foundationx.core.types import Task
    from foundationx.curation.check.report import CheckReport

T = TypeVar("T")

STRINGS = 20
"""Published strings of each kind that are printed; the written report holds all."""

TAKEN_AS = {"absent": "counted as absent", "unknown": "taken as unknown", "ignored": "ignored"}
"""What published strings other than names of classes were taken for, as it is printed."""

ALL = "all"
HELP = "check a downloaded dataset against its card and list what is wrong"
EXAMPLE = "foundationx data check vindr_cxr --data-root data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("card", help=f"card name, or `{ALL}` for every dataset found under the data root")
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the dataset under the data root (default: the one that the card names)"
    )
    parser.add_argument("--fast", action="store_true", help="decode only a sample of the images")
    parser.add_argument("--partial", action="store_true", help="partial download: report missing images as warnings")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write every issue to this JSON file (default: nothing)"
    )
    parser.add_argument(
        "--options",
        nargs="+",
        default=[],
        metavar="TASK.KEY=VALUE",
        help="reader options, file, images, image_suffix or image_path in place of the card's, as in `datasets` of a "
        "configuration: classification.images=images-224",
    )
    add_data_root(parser)


def run(options: argparse.Namespace) -> int:
    """Prints what is wrong, grouped by kind; the exit code is 1 if there is a fault.

    Raises:
        ConfigError: ``--root`` is given for all cards, or the folder of no card is found.
    """
    from foundationx.core.atomic_write import require_file, write_json
    from foundationx.core.errors import ConfigError
    from foundationx.curation.check.run import check_card
    from foundationx.curation.issues import Severity
    from foundationx.datasets.cards.catalog import Catalog

    if options.report is not None:
        require_file(options.report)
    console, catalog = wide_console(), Catalog()
    names = [options.card]
    if options.card == ALL:
        if options.root is not None:
            raise ConfigError("--root", "is given for all cards", "one card", "name the card, or leave --root out")
        cards = catalog.valid()
        names = [name for name, card in cards.items() if (options.data_root / card.root).is_dir()]
        print_card_faults(catalog)
        absent = len(cards) - len(names)
        console.print(f"{len(names)} datasets are in {options.data_root}, {absent} are not", highlight=False)
        if not names:
            raise ConfigError("--data-root", f"{options.data_root} holds no dataset", "datasets", "correct the folder")
    changes = _by_task(options.options)
    reports = []
    for name in names:
        report = check_card(
            catalog.card(name).with_options(changes),
            options.data_root,
            root=options.root,
            fast=options.fast,
            partial=options.partial,
            progress=partial(_progress_bar, name, console),
        )
        _print(report, console)
        reports.append(report)
    if options.report is not None:
        write_json(options.report, [report.as_json() for report in reports])
        console.print(f"all issues: {options.report}", highlight=False, markup=False)
    return 1 if any(report.count(Severity.FAULT) for report in reports) else 0


def _by_task(pairs: list[str]) -> dict[Task, dict[str, Any]]:
    """``TASK.KEY=VALUE`` pairs as the options of tasks. Raises ConfigError if a task is unknown."""
    from foundationx.core.errors import ConfigError, nearest
    from foundationx.core.types import all_tasks

    changes: dict[Task, dict[str, Any]] = {}
    names = {task.value: task for task in all_tasks()}
    for key, value in parse_options(pairs).items():
        task, _, option = key.partition(".")
        if task not in names or not option:
            fix = "name the task first: classification.images=images-224"
            raise ConfigError("--options", f"found {key!r}", nearest(task, names), fix)
        changes.setdefault(names[task], {})[option] = list(value) if isinstance(value, tuple) else value
    return changes


def _progress_bar(name: str, console: Console, results: Iterable[T], count: int) -> Iterable[T]:
    if console.is_terminal:
        return track(results, name, total=count, console=console, transient=True)
    return _in_lines(name, results, count)


def _in_lines(name: str, results: Iterable[T], count: int) -> Iterator[T]:
    """The results, with a line for every tenth of them."""
    from foundationx.core.progress import Tenths

    lines = Tenths()
    for result in results:
        yield result
        lines.advance(name, 1, count)


def _print(report: CheckReport, console: Console) -> None:
    from foundationx.curation.issues import Severity, report_lines

    counts = ", ".join(f"{report.count(severity):,} {severity.value}s" for severity in Severity)
    decoded = "" if report.decoded == report.images else f" ({report.decoded:,} decoded)"
    head = f"{report.dataset}: {report.images:,} images{decoded}, {report.patients:,} patients; {counts}"
    for line in (head, *_label_lines(report), *report_lines(report.issues, "--report lists all")):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _label_lines(report: CheckReport) -> Iterator[str]:
    """One line per class with its numbers of images, and the published strings that are no class."""
    for task, classes in report.labels.items():
        width = max(map(len, (task, *classes)))
        yield f"  {task:{width + 2}}{'present':>10}{'absent':>10}{'unknown':>10}"
        for name, counts in classes.items():
            yield f"    {name:{width}}" + "".join(f"{counts[key]:>10,}" for key in ("present", "absent", "unknown"))
        regions, images = report.unknown_regions[task]
        if regions:
            yield f"    regions in which a class is unknown: {regions:,} in {images:,} images"
        for kind, strings in report.strings[task].items():
            shown = [f"{string or '(empty cell)'} {count:,}" for string, count in list(strings.items())[:STRINGS]]
            more = [f"and {len(strings) - STRINGS:,} more (--report lists all)"] if len(strings) > STRINGS else []
            if shown:
                yield f"    {TAKEN_AS[kind]}: {', '.join(shown + more)}"
