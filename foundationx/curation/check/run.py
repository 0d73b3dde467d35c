"""The check of one dataset, from its files to its pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Task
from foundationx.curation.check.files import missing_files, unnamed_files
from foundationx.curation.check.findings import Finding, Kind, Report, Severity
from foundationx.curation.check.labels import class_findings, count_findings, label_counts, side_findings
from foundationx.curation.check.pixels import Inspector, Look, inspect, twins
from foundationx.datasets.annotations import read_source
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._bounds import dataset_folder
from foundationx.datasets.readers._files import MissingFileError
from foundationx.datasets.readers._source import Source

MOST_THREADS = 8


def check_card(
    card: Card,
    data_root: Path,
    *,
    root: str | None = None,
    fast: bool = False,
    partial: bool = False,
    progress: Callable[[Iterable[Look], int], Iterable[Look]] = lambda looks, count: looks,
) -> Report:
    """Holds a dataset's folder against its card: files, columns, rows, counts, classes, images, boxes and masks.

    Args:
        card: of the dataset.
        data_root: folder that holds the datasets.
        root: the dataset's folder under ``data_root``; the card's own where it is None.
        fast: decode a sample of the images of each folder only.
        partial: the download is known to be a part: what is missing is a warning.
        progress: wraps the iteration over images; takes it and the number of images.

    Returns:
        All that was found. What is wrong with the data is in the report, never raised.

    Raises:
        CardError: the card names a reader or option that does not exist, or a file outside the data root.
    """
    folder = dataset_folder(data_root, card.root if root is None else root, f"{card.file}: root")
    report = Report(card.name, str(folder))
    report.add(missing_files(card, data_root, folder))
    if not folder.is_dir():
        return report
    sources = _read(card, data_root, root, report)
    report.add(finding for task, source in sources.items() for finding in _rows(task, source, partial))
    tables = {task: table for task, source in sources.items() if (table := _finished(source, report)) is not None}
    if tables:
        _check_whole(card, tables, sources, report, partial)
        inspector = Inspector(tables, folder)
        looks = inspect(inspector, min(MOST_THREADS, os.cpu_count() or 1), fast, progress)
        report.add(twins(inspector, _counted(looks, report)))
    return report


def _read(card: Card, data_root: Path, root: str | None, report: Report) -> dict[Task, Source]:
    """The tasks whose files can be read at all."""
    incomplete = {task for finding in report.findings for task in finding.tasks}
    sources: dict[Task, Source] = {}
    for task, spec in card.tasks.items():
        try:
            sources[task] = read_source(card, task, data_root, root, skip=True)
        except DataError as error:
            missing = isinstance(error, MissingFileError)
            if not (missing and task.value in incomplete):  # what is missing was listed before
                kind = Kind.FILES if missing else Kind.TABLES
                report.add([Finding.of(error, kind, spec.files[0].file, tasks=(task.value,))])
    return sources


def _rows(task: Task, source: Source, partial: bool) -> Iterator[Finding]:
    """A fault for each row that was left out; rows of a part of the images that is not there are one warning."""
    absent = [(image, error) for image, error in source.faults if isinstance(error, MissingFileError)]
    for image, error in source.faults:
        missing = isinstance(error, MissingFileError)
        if not (missing and partial):
            yield Finding.of(error, Kind.ABSENT if missing else Kind.ROWS, image, tasks=(task.value,))
    if partial and absent:
        image, error = absent[0]
        found = f"{len(absent):,} annotated images or masks are not there; the first is {image}"
        yield Finding(
            Kind.ABSENT, Severity.WARNING, "", error.where, found, fix="download the rest", tasks=(task.value,)
        )


def _finished(source: Source, report: Report) -> Annotations | None:
    """The annotations of a task, None where every image was left out."""
    try:
        return source.finish()
    except DataError as error:
        report.add([Finding.of(error, Kind.TABLES, source.file, tasks=(source.task.value,))])
        return None


def _check_whole(
    card: Card, tables: dict[Task, Annotations], sources: dict[Task, Source], report: Report, partial: bool
) -> None:
    """What can be said without reading a pixel."""
    patients = {
        image: who for table in tables.values() for image, who in zip(table.images, table.patients, strict=True)
    }
    report.images, report.patients = len(patients), len(set(patients.values()))
    left_out = {image for source in sources.values() for image, _ in source.faults}
    first = next(iter(sources.values()))
    folders = {place for source in sources.values() for place in source.images.folders}
    unnamed = unnamed_files(tables, left_out, folders, first.images)
    report.add(count_findings(card, tables, len(unnamed), len(left_out), partial))
    report.add(side_findings(tables))
    for task, table in tables.items():
        report.labels[task.value] = label_counts(table)
        report.add(class_findings(table))
    report.add(
        Finding(Kind.UNNAMED, Severity.NOTE, path, "", "no annotation names it", fix="nothing, if it is unlabelled")
        for path in unnamed
    )


def _counted(looks: Iterable[Look], report: Report) -> Iterator[Look]:
    for look in looks:
        report.decoded += look.digest is not None
        yield look
