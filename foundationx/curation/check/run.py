"""Checks one dataset, from its files to its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from foundationx.core.device import usable_cores
from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Task
from foundationx.curation.check.files import missing_files, unannotated_files
from foundationx.curation.check.labels import class_issues, count_issues, label_counts, split_issues
from foundationx.curation.check.objects import object_issues
from foundationx.curation.check.pixels import ImageChecker, ImageResult, check_images, issues_with_duplicates
from foundationx.curation.check.report import CheckReport
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.datasets.annotations import read_source
from foundationx.datasets.cards.card import Card
from foundationx.datasets.location import dataset_folder
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
    progress: Callable[[Iterable[ImageResult], int], Iterable[ImageResult]] = lambda results, count: results,
) -> CheckReport:
    """Checks a dataset's folder against its card: files, columns, rows, counts, classes, images, boxes and masks.

    Args:
        card: Card of the dataset.
        data_root: Folder that holds the datasets.
        root: The dataset's folder under ``data_root``; None for the card's own.
        fast: Whether to decode only a sample of the images of each folder.
        partial: Whether the download is known to be partial, so that missing files are only a warning.
        progress: Wrapper around the iteration over images; takes the results and their number.

    Returns:
        All issues. What is wrong with the data is in the report and never raised.

    Raises:
        CardError: The card names a reader or option that does not exist, or a file outside the data root.
    """
    folder = dataset_folder(card, data_root, root)
    report = CheckReport(card.name, str(folder))
    report.add(missing_files(card, data_root, folder, root))
    if not folder.is_dir():
        return report
    sources = _read(card, data_root, root, report)
    report.add(issue for task, source in sources.items() for issue in _row_issues(task, source, partial))
    tables = {task: table for task, source in sources.items() if (table := _finished(source, report)) is not None}
    if tables:
        _check_annotations(card, tables, sources, report, partial)
        checker = ImageChecker(tables, folder)
        results = check_images(checker, min(MOST_THREADS, usable_cores()), fast, progress)
        report.add(issues_with_duplicates(checker, _counted(results, report)))
    return report


def _read(card: Card, data_root: Path, root: str | None, report: CheckReport) -> dict[Task, Source]:
    """The tasks whose files can be read at all."""
    incomplete = {task for issue in report.issues for task in issue.tasks}
    sources: dict[Task, Source] = {}
    for task, spec in card.tasks.items():
        try:
            sources[task] = read_source(card, task, data_root, root, skip=True)
        except DataError as error:
            missing = isinstance(error, MissingFileError)
            if not (missing and task.value in incomplete):  # missing files are in the report already
                kind = IssueKind.FILES if missing else IssueKind.TABLES
                report.add([Issue.from_error(error, kind, spec.files[0].file or "", tasks=(task.value,))])
    return sources


def _row_issues(task: Task, source: Source, partial: bool) -> Iterator[Issue]:
    """A fault per skipped row; in a partial download, one warning for all missing images."""
    absent = [(image, error) for image, error in source.faults if isinstance(error, MissingFileError)]
    for image, error in source.faults:
        missing = isinstance(error, MissingFileError)
        if not (missing and partial):
            yield Issue.from_error(error, IssueKind.ABSENT if missing else IssueKind.ROWS, image, tasks=(task.value,))
    if partial and absent:
        image, error = absent[0]
        found = f"{len(absent):,} annotated images or masks are missing; the first is {image}"
        fix = "download the rest"
        yield Issue(IssueKind.ABSENT, Severity.WARNING, "", error.where, found, fix=fix, tasks=(task.value,))


def _finished(source: Source, report: CheckReport) -> Annotations | None:
    """The annotations of a task; None if every image was skipped."""
    try:
        return source.finish()
    except DataError as error:
        report.add([Issue.from_error(error, IssueKind.TABLES, source.file, tasks=(source.task.value,))])
        return None


def _check_annotations(
    card: Card, tables: dict[Task, Annotations], sources: dict[Task, Source], report: CheckReport, partial: bool
) -> None:
    """All checks that need no pixels."""
    patients = {
        image: who for table in tables.values() for image, who in zip(table.images, table.patients, strict=True)
    }
    report.images, report.patients = len(patients), len(set(patients.values()))
    skipped = {image for source in sources.values() for image, _ in source.faults}
    first = next(iter(sources.values()))
    folders = {folder for source in sources.values() for folder in source.images.folders}
    unannotated = unannotated_files(tables, skipped, folders, first.images)
    left_out = max(source.left_out for source in sources.values())
    report.add(count_issues(card, tables, len(unannotated), len(skipped), partial, left_out))
    report.add(split_issues(tables))
    for task, table in tables.items():
        report.labels[task.value] = label_counts(table)
        report.strings[task.value] = sources[task].strings.as_json()
        regions = [task.facts.unknown_regions(target) for target in table.targets]
        report.unknown_regions[task.value] = [sum(regions), sum(count > 0 for count in regions)]
        report.add(class_issues(table))
        report.add(object_issues(table))
    fix = "none needed if it is unlabelled"
    report.add(
        Issue(IssueKind.UNANNOTATED, Severity.NOTE, path, "", "no annotation names it", fix=fix) for path in unannotated
    )


def _counted(results: Iterable[ImageResult], report: CheckReport) -> Iterator[ImageResult]:
    for result in results:
        report.decoded += result.digest is not None
        yield result
