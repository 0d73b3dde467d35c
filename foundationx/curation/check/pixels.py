"""Every image is decoded, and every box and mask laid over it, side by side in threads."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, MaskPart, Task
from foundationx.curation.check.findings import Finding, Kind, Severity
from foundationx.data.dataset import CardDataset
from foundationx.data.pixels.read import decode_grey, read_bytes, read_mask
from foundationx.data.transforms.augment import ViewPipeline

AHEAD = 4
"""Images that wait for each thread; more would only fill the memory."""

SAMPLE = 20
"""Images of each folder that are decoded where the user is in haste."""

_UNUSED_VIEW = 32
"""Side of the view that a dataset must be given; none is made here."""


@dataclass(slots=True)
class Look:
    """What one image file came to. ``digest`` is None where it was not read."""

    image: str
    digest: bytes | None = None
    findings: list[Finding] = field(default_factory=list)


class Inspector:
    """Looks at the images of a dataset.

    Args:
        tables: annotations by task.
        folder: of the dataset.
    """

    def __init__(self, tables: Mapping[Task, Annotations], folder: Path):
        self.folder = folder
        self.datasets = {task: CardDataset(table, folder, ViewPipeline(_UNUSED_VIEW)) for task, table in tables.items()}
        self.places: dict[str, dict[Task, int]] = {}
        for task, table in tables.items():
            for index, image in enumerate(table.images):
                self.places.setdefault(image, {})[task] = index

    def row(self, image: str) -> str:
        """Where the image is annotated first."""
        task, index = next(iter(self.places[image].items()))
        return self.datasets[task].annotations.rows[index]

    def patient(self, image: str) -> str:
        """Patient of the image."""
        task, index = next(iter(self.places[image].items()))
        return self.datasets[task].annotations.patients[index]

    def decode(self, image: str) -> Look:
        """Reads an image and lays its boxes and masks over it."""
        look, path = Look(image), self.folder / image
        tasks = tuple(task.value for task in self.places[image])
        try:
            content = read_bytes(path)
            look.digest = hashlib.blake2b(content, digest_size=16).digest()
            values = decode_grey(path, content)
        except DataError as error:
            look.findings.append(Finding.of(error, Kind.IMAGES, image, self.row(image), tasks))
            return look
        if (values == values.flat[0]).all():
            found, fix = f"every pixel is {values.flat[0]}", "look at it; download it again or leave it out"
            look.findings.append(Finding(Kind.CONSTANT, Severity.WARNING, image, self.row(image), found, fix=fix))
        for task, index in self.places[image].items():
            look.findings += self._target(task, index, values.shape)
        return look

    def weigh(self, image: str) -> Look:
        """Only whether the file holds anything; for those who are in haste."""
        look = Look(image)
        try:
            empty = os.path.getsize(self.folder / image) == 0
        except OSError as error:
            empty, found = True, f"cannot be opened ({error.strerror})"
        else:
            found = "the file is empty"
        if empty:
            where = self.row(image)
            look.findings.append(
                Finding(Kind.IMAGES, Severity.FAULT, image, where, found, "an image", "download it again")
            )
        return look

    def _target(self, task: Task, index: int, size: tuple[int, int]) -> Iterator[Finding]:
        dataset = self.datasets[task]
        image, row = dataset.annotations.images[index], dataset.annotations.rows[index]
        try:
            dataset.target(index, size)
            if dataset.annotations.masks is not None:
                yield from self._mask_values(dataset.annotations.masks[index], image, row)
        except DataError as error:
            yield Finding.of(error, Kind.TARGETS, image, error.where, (task.value,))

    def _mask_values(self, parts: Sequence[MaskPart], image: str, row: str) -> Iterator[Finding]:
        """Values in mask files that the card does not name: such pixels count as background."""
        meanings: dict[str, list[MaskPart]] = {}
        for part in parts:
            if part.file is not None:
                meanings.setdefault(part.file, []).append(part)
        for file, claimed in meanings.items():
            positives = {part.positive for part in claimed}
            if None in positives:
                continue
            values = set(np.unique(read_mask(self.folder / file)).tolist())
            strange = values - positives - {0} - {part.ignore for part in claimed}
            if not strange:
                continue
            shown = ", ".join(map(str, sorted(strange)[:5]))
            severity = Severity.WARNING if values & positives else Severity.FAULT
            found = f"{file} holds {len(strange)} values that the card does not name, e.g. {shown}"
            expected = f"0 and {', '.join(map(str, sorted(positives)))}"
            fix = "correct positive and ignore in the card, or store the mask without smoothing and JPEG"
            yield Finding(Kind.TARGETS, severity, image, row, found, expected, fix, (Task.SEGMENTATION.value,))


def sampled(images: Iterable[str]) -> frozenset[str]:
    """At most ``SAMPLE`` images of each folder, evenly spaced."""
    folders: dict[str, list[str]] = {}
    for image in images:
        folders.setdefault(image.rpartition("/")[0], []).append(image)
    picks = (files[place] for files in folders.values() for place in np.linspace(0, len(files) - 1, SAMPLE, dtype=int))
    return frozenset(picks)


def inspect(
    inspector: Inspector, workers: int, fast: bool, progress: Callable[[Iterable[Look], int], Iterable[Look]]
) -> Iterator[Look]:
    """Looks at all images in the order of the annotations.

    Args:
        inspector: that looks.
        workers: threads.
        fast: decode a sample, of the other images only ask the size.
        progress: shows how far it is; takes the looks and their number, and gives the looks on.
    """
    images = list(inspector.places)
    chosen = sampled(images) if fast else frozenset(images)
    with ThreadPoolExecutor(workers) as pool:
        yield from progress(_ahead(pool, inspector, images, chosen, workers * AHEAD), len(images))


def _ahead(
    pool: ThreadPoolExecutor, inspector: Inspector, images: Sequence[str], chosen: frozenset[str], most: int
) -> Iterator[Look]:
    """Looks in order, with at most ``most`` of them under way."""
    waiting: deque[Future[Look]] = deque()
    todo = iter(images)
    while True:
        for image in itertools.islice(todo, most - len(waiting)):
            waiting.append(pool.submit(inspector.decode if image in chosen else inspector.weigh, image))
        if not waiting:
            return
        yield waiting.popleft().result()


def twins(inspector: Inspector, looks: Iterable[Look]) -> Iterator[Finding]:
    """Passes on every finding of the looks, and a warning for each file whose bytes were seen before."""
    first: dict[bytes, str] = {}
    for look in looks:
        yield from look.findings
        if look.digest is None:
            continue
        other = first.setdefault(look.digest, look.image)
        if other != look.image:
            here, there = inspector.patient(look.image), inspector.patient(other)
            whose = "of the same patient" if here == there else f"of another patient ({there}, here {here})"
            found = f"holds the same bytes as {other}, {whose}"
            fix = "leave one of them out, or see that both are on one side of the split"
            yield Finding(Kind.TWINS, Severity.WARNING, look.image, inspector.row(look.image), found, fix=fix)
