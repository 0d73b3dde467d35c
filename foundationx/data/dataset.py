"""The one Dataset class: annotations of a card plus pixels make samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import (
    UNKNOWN_PIXEL,
    Annotations,
    BadSample,
    MaskPart,
    Runs,
    Sample,
    SampleMeta,
    TrainingProgress,
)
from foundationx.data.cache import Cached, TaskCache
from foundationx.data.pixels.read import read_grey, read_mask
from foundationx.data.transforms.augment import ViewPipeline, scale_boxes

BOX_TOLERANCE = 1.0
"""Pixels by which a published box or polygon may stand out of its image (rounding); more is an error."""


class CardDataset:
    """Images of one task of one dataset with their targets.

    Args:
        annotations: what the card's files say.
        root: the dataset's folder.
        view: makes the student's and the teacher's view of an image.
        cache: images and masks that were decoded before, at the view's size; what is not in it is decoded.
        reader: decodes an image file.
    """

    def __init__(
        self,
        annotations: Annotations,
        root: Path,
        view: ViewPipeline,
        cache: TaskCache | None = None,
        reader: Callable[[Path], np.ndarray] = read_grey,
    ):
        self.annotations = annotations
        self.root = root
        self.view = view
        self.cache = cache
        self.reader = reader

    def __len__(self) -> int:
        return len(self.annotations)

    def sample(self, index: int, seed: int, training_progress: TrainingProgress | None = None) -> Sample:
        """The sample of image ``index``; augmentation is a function of ``seed`` alone.

        ``training_progress`` makes no difference.

        Raises:
            DataError: a file cannot be read, a box or polygon stands out of its image or a mask has another
                size. Names file and row.
        """
        source = self.annotations
        cached = self.cache.read(index) if self.cache is not None else None
        if cached is None:
            image = self._read(self.reader, source.images[index], index)
            size = image.shape
            boxes, box_classes, masks = self.target(index, size)
        else:
            image, masks, size = cached.image, cached.masks, (cached.height, cached.width)
            self._check_size(index, size)
            boxes, box_classes = self._boxes(index, size)
            boxes = scale_boxes(boxes, size, self.view.size)
        views = self.view(image, boxes, box_classes, masks, seed)
        meta = SampleMeta(source.key, source.images[index], source.patients[index], source.rows[index], *size)
        return Sample(
            image=views.image,
            teacher_image=views.teacher_image,
            labels=source.labels[index],
            boxes=views.boxes,
            box_classes=views.box_classes,
            masks=views.masks,
            meta=meta,
        )

    def decode(self, index: int) -> Cached:
        """Image ``index`` and its masks as the cache keeps them. Raises DataError as :meth:`sample`."""
        image = self._read(read_grey, self.annotations.images[index], index)
        resized, _, masks = self.view.resize(image, None, self._masks(index, image.shape))
        return Cached(resized, masks, *image.shape)

    def target(
        self, index: int, size: tuple[int, int]
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Boxes (N, 4), their classes (N,) and masks (K, H, W) of an image of ``size`` (height, width) in pixels.

        Raises:
            DataError: as :meth:`sample`, but for the image's own file.
        """
        return *self._boxes(index, size), self._masks(index, size)

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

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        """Raises DataError where the annotation file says another size: its boxes would lie elsewhere."""
        image = self.annotations.images[index]
        declared = self.annotations.sizes.get(image, size)
        if declared != size:
            raise DataError(
                f"{self.annotations.rows[index]} ({image})",
                f"the file says {declared[1]} x {declared[0]} pixels, the image has {size[1]} x {size[0]}",
                "an image of the published size",
                "take the images as published, or scale width, height and all coordinates of the file",
            )

    def _boxes(self, index: int, size: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Boxes (N, 4) clipped to the image, and their classes (N,)."""
        if self.annotations.boxes is None:
            return None, None
        self._check_size(index, size)
        boxes = self.annotations.boxes[index].reshape(-1, 4)
        height, width = size
        limits = np.array([width, height, width, height], dtype=np.float32)
        inside = np.clip(boxes, 0, limits)
        far_out = ~(np.abs(boxes - inside) <= BOX_TOLERANCE).all(axis=1)  # true for NaN too
        empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1)
        if (far_out | empty).any():
            box = boxes[far_out | empty][0].tolist()
            raise self._outside(index, f"box {box} (x1, y1, x2, y2)", size)
        return inside, self.annotations.box_classes[index]

    def _outside(self, index: int, what: str, size: tuple[int, int]) -> DataError:
        return DataError(
            f"{self.annotations.rows[index]} ({self.annotations.images[index]})",
            f"{what} stands out of the image of {size[1]} x {size[0]} pixels",
            "boxes and polygons inside the image",
            "check that they and the image have the same size, or train with on_bad_sample='skip'",
        )

    def _masks(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """Masks (K, H, W): 0, 1 or 255 (unknown); a class that was not annotated here is unknown everywhere."""
        if self.annotations.masks is None:
            return None
        self._check_size(index, size)
        labels = self.annotations.labels[index]
        masks = np.zeros((len(labels), *size), dtype=np.uint8)
        masks[np.isnan(labels)] = UNKNOWN_PIXEL
        for part in self.annotations.masks[index]:
            self._draw(masks[part.class_index], part, index)
        return masks

    def _draw(self, mask: np.ndarray, part: MaskPart, index: int) -> None:
        """Lays one part over a class's mask (H, W)."""
        if part.polygon is not None:
            limits = np.array(mask.shape[::-1]) + BOX_TOLERANCE
            if ((part.polygon < -BOX_TOLERANCE) | (part.polygon > limits)).any():
                raise self._outside(index, f"polygon of {len(part.polygon)} points", mask.shape)
            cv2.fillPoly(mask, [np.round(part.polygon).astype(np.int32)], 1)
            return
        values = self._paint(part.runs, mask.shape, index) if part.runs else self._read(read_mask, part.file, index)
        if values.shape != mask.shape and part.scaled:
            values = cv2.resize(values, mask.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        if values.shape != mask.shape:
            raise DataError(
                f"{self.annotations.rows[index]} ({part.file or 'runs'})",
                f"the mask has {values.shape[1]} x {values.shape[0]} pixels, "
                f"its image {self.annotations.images[index]} has {mask.shape[1]} x {mask.shape[0]}",
                "a mask of its image's size",
                "resize the mask with nearest-neighbour interpolation, or train with on_bad_sample='skip'",
            )
        unknown = values == part.ignore if part.ignore is not None else np.zeros(mask.shape, dtype=bool)
        foreground = values == part.positive if part.positive is not None else values > 0
        mask[unknown & (mask != 1)] = UNKNOWN_PIXEL  # what another part calls foreground is known
        mask[foreground & ~unknown] = 1

    def _paint(self, runs: Runs, size: tuple[int, int], index: int) -> np.ndarray:
        try:
            return paint(runs, size)
        except IndexError:
            raise self._outside(index, "a run-length mask", size) from None


def paint(runs: Runs, size: tuple[int, int]) -> np.ndarray:
    """A run-length mask as (H, W) uint8, 0 and 1; ``size`` is its height and width where the runs name none.

    Raises:
        IndexError: a run goes beyond the last pixel.
    """
    height, width = runs.height or size[0], runs.width or size[1]
    change = np.zeros(height * width + 1, dtype=np.int8)
    change[runs.starts] += 1
    change[runs.starts.astype(np.int64) + runs.lengths] -= 1
    flat = np.cumsum(change[:-1], dtype=np.int8).view(np.uint8)
    return flat.reshape(height, width) if runs.order == "rows" else flat.reshape(width, height).T.copy()
