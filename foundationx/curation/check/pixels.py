"""Every image is decoded, and every box and mask compared with its image, in parallel threads."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, MaskPart, Task
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.data.dataset import CardDataset
from foundationx.data.pixels.read import decode_grey, read_bytes, read_mask
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.stores import store as stores

AHEAD = 4
"""Images queued per thread; more would only fill the memory."""

SAMPLE, LARGEST_SAMPLE = 20, 200
"""Images of each folder, and of the whole dataset, that ``fast`` decodes: a dataset may have a folder per image."""

TOGETHER = 500
"""Files whose size a thread looks up at once."""

_UNUSED_VIEW = 32
"""View size in pixels that a dataset requires; no view is made here."""


@dataclass(slots=True)
class ImageResult:
    """The result of checking one image file.

    Attributes:
        image: Path relative to the dataset's folder.
        digest: Hash of the file's bytes; None if the file was not read.
        issues: Issues of the image, its boxes and its masks.
    """

    image: str
    digest: bytes | None = None
    issues: list[Issue] = field(default_factory=list)


class ImageChecker:
    """Checks the images of a dataset.

    Attributes:
        images: Images of all tasks, each once, in the order of the annotations.

    Args:
        tables: Annotations by task.
        folder: The dataset's folder.
    """

    def __init__(self, tables: Mapping[Task, Annotations], folder: Path):
        self.folder = folder
        self.datasets = {task: CardDataset(table, folder, ViewPipeline(_UNUSED_VIEW)) for task, table in tables.items()}
        self.images = list(dict.fromkeys(image for table in tables.values() for image in table.images))
        self._index = {task: {image: n for n, image in enumerate(table.images)} for task, table in tables.items()}

    def tasks(self, image: str) -> dict[Task, int]:
        """The tasks that have an image, and its index in each."""
        return {task: indices[image] for task, indices in self._index.items() if image in indices}

    def row(self, image: str) -> str:
        """The row of the first annotation of an image."""
        task, index = next(iter(self.tasks(image).items()))
        return self.datasets[task].annotations.rows[index]

    def patient(self, image: str) -> str:
        """The patient of an image."""
        task, index = next(iter(self.tasks(image).items()))
        return self.datasets[task].annotations.patients[index]

    def check(self, image: str) -> ImageResult:
        """Decodes an image and compares its boxes and masks with it."""
        result, path = ImageResult(image), self.folder / image
        tasks = tuple(task.value for task in self.tasks(image))
        try:
            content = read_bytes(path)
            result.digest = hashlib.blake2b(content, digest_size=16).digest()
            values = decode_grey(path, content)
        except DataError as error:
            result.issues.append(Issue.from_error(error, IssueKind.IMAGES, image, self.row(image), tasks))
            return result
        if (values == values.flat[0]).all():
            found, fix = f"every pixel is {values.flat[0]}", "look at it; download it again or leave it out"
            result.issues.append(Issue(IssueKind.CONSTANT, Severity.WARNING, image, self.row(image), found, fix=fix))
        for task, index in self.tasks(image).items():
            result.issues += self._target(task, index, values.shape)
        return result

    def check_sizes(self, images: Sequence[str]) -> list[ImageResult]:
        """Only checks that files are not empty."""
        results = [ImageResult(image) for image in images]
        for result in results:
            found = "the file is empty"
            try:
                empty = stores.size_of(f"{self.folder}/{result.image}") == 0
            except OSError as error:
                empty, found = True, f"cannot be opened ({error.strerror})"
            if empty:
                where, fix = self.row(result.image), "download it again"
                issue = Issue(IssueKind.IMAGES, Severity.FAULT, result.image, where, found, "an image", fix)
                result.issues.append(issue)
        return results

    def _target(self, task: Task, index: int, size: tuple[int, ...]) -> Iterator[Issue]:
        dataset, (height, width) = self.datasets[task], size
        image, row = dataset.annotations.images[index], dataset.annotations.rows[index]
        try:
            dataset.target(index, (height, width))
            if task.facts.part == "masks":
                yield from self._mask_values(task, dataset.annotations.targets[index], image, row)
        except DataError as error:
            yield Issue.from_error(error, IssueKind.TARGETS, image, error.where, (task.value,))

    def _mask_values(self, task: Task, parts: Sequence[MaskPart], image: str, row: str) -> Iterator[Issue]:
        """Values in mask files that the card does not name: such pixels count as background."""
        by_file: dict[str, list[MaskPart]] = {}
        for part in parts:
            if part.file is not None:
                by_file.setdefault(part.file, []).append(part)
        for file, classes in by_file.items():
            positives = {part.positive for part in classes if part.positive is not None}
            if any(part.positive is None for part in classes):
                yield from self._smoothed(task, file, image, row)
                continue
            values = set(np.unique(read_mask(self.folder / file)).tolist())
            unknown = values - positives - {0} - {part.ignore for part in classes}
            if not unknown:
                continue
            shown = ", ".join(map(str, sorted(unknown)[:5]))
            severity = Severity.WARNING if values & positives else Severity.FAULT
            found = f"{file} holds {len(unknown)} values that the card does not name, e.g. {shown}"
            expected = f"0 and {', '.join(map(str, sorted(positives)))}"
            fix = "correct positive and ignore in the card, or store the mask without smoothing"
            yield Issue(IssueKind.TARGETS, severity, image, row, found, expected, fix, (task.value,))

    def _smoothed(self, task: Task, file: str, image: str, row: str) -> Iterator[Issue]:
        """A mask of several values of which any but 0 is foreground: so is the rim that smoothing leaves."""
        values = np.unique(read_mask(self.folder / file))
        if len(values[values > 0]) > 1:
            found = f"{file} holds {len(values)} values, and every pixel but 0 is foreground"
            expected = "0 and one value"
            fix = f"write `positive: {values.max()}` in the card, or store the mask without smoothing"
            yield Issue(IssueKind.TARGETS, Severity.WARNING, image, row, found, expected, fix, (task.value,))


def sample_images(images: Iterable[str]) -> frozenset[str]:
    """At most ``SAMPLE`` images of each folder and ``LARGEST_SAMPLE`` in all, evenly spaced."""
    folders: dict[str, list[str]] = {}
    for image in images:
        folders.setdefault(image.rpartition("/")[0], []).append(image)
    picks = [image for files in folders.values() for image in _evenly(files, SAMPLE)]
    return frozenset(_evenly(picks, LARGEST_SAMPLE))


def _evenly(images: Sequence[str], most: int) -> list[str]:
    """At most so many of the images, evenly spaced, with the first and the last."""
    if len(images) <= most:
        return list(images)
    return [images[index] for index in np.linspace(0, len(images) - 1, most, dtype=int)]


def check_images(
    checker: ImageChecker,
    workers: int,
    fast: bool,
    progress: Callable[[Iterable[ImageResult], int], Iterable[ImageResult]],
) -> Iterator[ImageResult]:
    """Checks all images in the order of the annotations.

    Args:
        checker: Checker of the dataset.
        workers: Number of threads.
        fast: Whether to decode only a sample and check the file size of the other images.
        progress: Wrapper that shows progress: takes the results and their number, yields the results.
    """
    images = checker.images
    jobs = _fast_jobs(checker, images) if fast else (functools.partial(_checked, checker, image) for image in images)
    with ThreadPoolExecutor(workers) as pool:
        yield from progress(_in_order(pool, jobs, workers * AHEAD), len(images))


Job = Callable[[], list[ImageResult]]


def _checked(checker: ImageChecker, image: str) -> list[ImageResult]:
    return [checker.check(image)]


def _fast_jobs(checker: ImageChecker, images: Sequence[str]) -> Iterator[Job]:
    """Decodes a sample of the images, and looks up the sizes of those between."""
    chosen = sample_images(images)
    for is_chosen, group in itertools.groupby(images, chosen.__contains__):
        if is_chosen:
            yield from (functools.partial(_checked, checker, image) for image in group)
        else:
            while some := list(itertools.islice(group, TOGETHER)):
                yield functools.partial(checker.check_sizes, some)


def _in_order(pool: ThreadPoolExecutor, jobs: Iterator[Job], most: int) -> Iterator[ImageResult]:
    """Results in the order of the jobs, with at most ``most`` of them in flight."""
    pending: deque[Future[list[ImageResult]]] = deque()
    while True:
        for job in itertools.islice(jobs, most - len(pending)):
            pending.append(pool.submit(job))
        if not pending:
            return
        yield from pending.popleft().result()


def issues_with_duplicates(checker: ImageChecker, results: Iterable[ImageResult]) -> Iterator[Issue]:
    """The issues of all results, and a warning for every file whose bytes equal those of an earlier one."""
    first: dict[bytes, str] = {}
    for result in results:
        yield from result.issues
        if result.digest is None:
            continue
        other = first.setdefault(result.digest, result.image)
        if other != result.image:
            patient, earlier = checker.patient(result.image), checker.patient(other)
            whose = "of the same patient" if patient == earlier else f"of another patient ({earlier}, here {patient})"
            found = f"holds the same bytes as {other}, {whose}"
            fix = "leave one of them out, or make sure that both are in one split"
            row = checker.row(result.image)
            yield Issue(IssueKind.DUPLICATES, Severity.WARNING, result.image, row, found, fix=fix)
