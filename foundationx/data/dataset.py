"""Annotations of a card plus pixels make samples."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.errors import ConfigError, DataError
from foundationx.core.geometry.views import START, TrainingProgress
from foundationx.core.types import Annotations, BadSample, ReferenceSize, Sample, SampleMeta, Target, is_sided
from foundationx.data.cache.store import Cached, TaskCache
from foundationx.data.pixels.read import read_annotated_mask, read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.tasks.definition import SourceImage, task_of


def _mirror_order(annotations: Annotations) -> np.ndarray | None:
    """For each class the index of the one that a flipped image shows in its place, (K,); None if that is always itself.

    Raises:
        ConfigError: A class is named by a side, and the card gives no class of the other side.
    """
    classes = annotations.classes
    pairs = [(classes.index(one), classes.index(other)) for one, other in annotations.mirror_pairs]
    paired = {index for pair in pairs for index in pair}
    alone = [name for index, name in enumerate(classes) if index not in paired]
    sided = [name for name in alone if is_sided(name) or name in annotations.sided]
    if sided:
        where = f"views.{annotations.key.task.value}.geometry.hflip"
        found = f"flips images of {annotations.key.dataset}, whose classes have sides: {', '.join(sided)}"
        fix = "set it to 0, leave them out, or pair left and right by mirror_pairs in the card"
        raise ConfigError(where, found, "0 for classes of one side of the patient", fix)
    order = np.arange(len(classes))
    for one, other in pairs:
        order[[one, other]] = other, one
    return order if pairs else None


class ImageDataset(ABC):
    """Images of one task of one dataset.

    Args:
        annotations: Annotations of one task of the dataset.
        root: Folder of the dataset.
        cache: What was decoded before; the rest is decoded when it is asked for.
    """

    def __init__(self, annotations: Annotations, root: Path, cache: TaskCache | None):
        self.annotations, self.root, self.cache = annotations, root, cache

    def __len__(self) -> int:
        return len(self.annotations)

    @abstractmethod
    def sample(self, index: int, seed: int, training_progress: TrainingProgress = START) -> Sample:
        """The sample of image ``index``: a function of ``seed`` and, for tasks with a curriculum, of training progress.

        Raises:
            DataError: A file cannot be read, or the annotation does not fit the image. Names file and row.
        """

    @abstractmethod
    def decode(self, index: int) -> Cached:
        """Image ``index`` as the cache keeps it. Raises DataError as :meth:`sample`."""

    def bad(self, index: int, error: DataError) -> BadSample:
        """The list entry for an image that could not be used."""
        key = self.annotations.key
        row = self.annotations.rows[index]
        return BadSample(key.dataset, key.task.value, self.annotations.images[index], row, str(error))

    def _read(self, reader: Callable[[Path], np.ndarray], file: str, index: int) -> np.ndarray:
        """A file's pixels; errors name the row that asked for it."""
        try:
            return reader(self.root / file)
        except DataError as error:
            where = f"{self.annotations.rows[index]}: {error.where}"
            raise DataError(where, error.found, error.expected, error.fix) from None


class CardDataset(ImageDataset):
    """Images of one task of one dataset with their targets.

    Args:
        annotations: Annotations of one task of the dataset.
        root: Folder of the dataset.
        view: Makes the student's and the teacher's view of an image.
        cache: Images and targets that were decoded before, at the view's size; what is not in it is decoded.
        reader: Decodes an image file.

    Raises:
        ConfigError: The view flips images, but classes are named by the patient's side and have no partner.
    """

    def __init__(
        self,
        annotations: Annotations,
        root: Path,
        view: ViewPipeline,
        cache: TaskCache | None = None,
        reader: Callable[[Path], np.ndarray] = read_grey,
    ):
        super().__init__(annotations, root, cache)
        self.task, self.view, self.reader = task_of(annotations.key.task), view, reader
        self._mirror_order = _mirror_order(annotations) if view.flips else None

    def sample(self, index: int, seed: int, training_progress: TrainingProgress = START) -> Sample:
        """As :meth:`ImageDataset.sample`; training progress changes nothing."""
        source = self.annotations
        cached = self.cache.read(index) if self.cache is not None else None
        if cached is None:
            image = self._read(self.reader, source.images[index], index)
            size = (image.shape[0], image.shape[1])
            target = self.target(index, size)
        else:
            image, size = cached.image, (cached.height, cached.width)
            target = self._cached_target(index, cached)
        views = self.view(image, target, seed)
        target, labels = views.target, source.labels[index]
        if views.flipped and self._mirror_order is not None:
            labels = labels[self._mirror_order]
            target = None if target is None else target.mirrored(self._mirror_order)
        meta = SampleMeta(source.key, source.images[index], source.patients[index], source.rows[index], *size)
        return Sample(views.image, labels, meta, views.teacher_image, target)

    def decode(self, index: int) -> Cached:
        """Image ``index`` and its target, if that is cached, at the view's size."""
        image = self._read(read_grey, self.annotations.images[index], index)
        size = (image.shape[0], image.shape[1])
        resized, target = self.view.resize(image, self.target(index, size) if self.task.is_cached else None)
        return Cached(resized, target, *size)

    def target(self, index: int, size: tuple[int, int]) -> Target | None:
        """The target of an image of ``size`` (height, width), in its pixels; None if the labels are complete.

        Raises:
            DataError: The annotation does not fit the image, or a file of it cannot be used.
        """
        table = self.annotations
        if not table.targets:
            return None
        annotation = self._fitted(index, size)
        read = functools.partial(self._read, read_annotated_mask, index=index)
        source = SourceImage(table.images[index], table.rows[index], size, table.labels[index], read)
        return self.task.target(annotation, source)

    def _cached_target(self, index: int, cached: Cached) -> Target | None:
        """The target of an image from the cache, at the view's size."""
        size = (cached.height, cached.width)
        self._check_size(index, size)
        if self.task.is_cached:
            return cached.target
        target = self.target(index, size)
        return None if target is None else target.resized(size, self.view.size)

    def _fitted(self, index: int, size: tuple[int, int]) -> Any:
        """The annotation of an image in the pixels of the file, which may be a copy at another scale."""
        annotation = self.annotations.targets[index]
        reference = self._check_size(index, size)
        if reference is None or reference[:2] == size:
            return annotation
        return self.task.scaled(annotation, reference, size)

    def _check_size(self, index: int, size: tuple[int, int]) -> ReferenceSize | None:
        """The size in which coordinates are given. Raises DataError if the image has another aspect ratio."""
        image = self.annotations.images[index]
        reference = self.annotations.sizes.get(image)
        if reference is not None and not reference.fits(size):
            raise DataError(
                f"{self.annotations.rows[index]} ({image})",
                f"its coordinates are for {reference.width} x {reference.height} pixels, "
                f"the image has {size[1]} x {size[0]}",
                "the published image, or a copy of the same aspect ratio",
                "take the images as published, or set any_aspect: true in the reader's options if they were squeezed",
            )
        return reference
