"""Every image is decoded, and every box and mask compared with its image, in parallel threads."""

from __future__ import annotations

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

SAMPLE = 20
"""Images of each folder that ``fast`` decodes."""

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

    Args:
        tables: Annotations by task.
        folder: The dataset's folder.
    """

    def __init__(self, tables: Mapping[Task, Annotations], folder: Path):
        self.folder = folder
        self.datasets = {task: CardDataset(table, folder, ViewPipeline(_UNUSED_VIEW)) for task, table in tables.items()}
        self.indices: dict[str, dict[Task, int]] = {}
        for task, table in tables.items():
            for index, image in enumerate(table.images):
                self.indices.setdefault(image, {})[task] = index

    def row(self, image: str) -> str:
        """The row of the first annotation of an image."""
        task, index = next(iter(self.indices[image].items()))
        return self.datasets[task].annotations.rows[index]

    def patient(self, image: str) -> str:
        """The patient of an image."""
        task, index = next(iter(self.indices[image].items()))
        return self.datasets[task].annotations.patients[index]

    def check(self, image: str) -> ImageResult:
        """Decodes an image and compares its boxes and masks with it."""
        result, path = ImageResult(image), self.folder / image
        tasks = tuple(task.value for task in self.indices[image])
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
        for task, index in self.indices[image].items():
            result.issues += self._target(task, index, values.shape)
        return result

    def check_size(self, image: str) -> ImageResult:
        """Only checks that the file is not empty."""
        result, found = ImageResult(image), "the file is empty"
        try:
            empty = stores.size_of(self.folder / image) == 0
        except OSError as error:
            empty, found = True, f"cannot be opened ({error.strerror})"
        if empty:
            issue = Issue(
                IssueKind.IMAGES, Severity.FAULT, image, self.row(image), found, "an image", "download it again"
            )
            result.issues.append(issue)
        return result

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
                continue
            values = set(np.unique(read_mask(self.folder / file)).tolist())
            unknown = values - positives - {0} - {part.ignore for part in classes}
            if not unknown:
                continue
            shown = ", ".join(map(str, sorted(unknown)[:5]))
            severity = Severity.WARNING if values & positives else Severity.FAULT
            found = f"{file} holds {len(unknown)} values that the card does not name, e.g. {shown}"
            expected = f"0 and {', '.join(map(str, sorted(positives)))}"
            fix = "correct positive and ignore in the card, or store the mask without smoothing and JPEG"
            yield Issue(IssueKind.TARGETS, severity, image, row, found, expected, fix, (task.value,))


def sample_images(images: Iterable[str]) -> frozenset[str]:
    """At most ``SAMPLE`` images of each folder, evenly spaced."""
    folders: dict[str, list[str]] = {}
    for image in images:
        folders.setdefault(image.rpartition("/")[0], []).append(image)
    picks = (files[index] for files in folders.values() for index in np.linspace(0, len(files) - 1, SAMPLE, dtype=int))
    return frozenset(picks)


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
    images = list(checker.indices)
    chosen = sample_images(images) if fast else frozenset(images)
    with ThreadPoolExecutor(workers) as pool:
        yield from progress(_in_order(pool, checker, images, chosen, workers * AHEAD), len(images))


def _in_order(
    pool: ThreadPoolExecutor, checker: ImageChecker, images: Sequence[str], chosen: frozenset[str], most: int
) -> Iterator[ImageResult]:
    """Results in the order of the images, with at most ``most`` of them in flight."""
    pending: deque[Future[ImageResult]] = deque()
    remaining = iter(images)
    while True:
        for image in itertools.islice(remaining, most - len(pending)):
            pending.append(pool.submit(checker.check if image in chosen else checker.check_size, image))
        if not pending:
            return
        yield pending.popleft().result()


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
