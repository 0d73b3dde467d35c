"""Masks of one image and of a batch: drawn from their parts, resized, moved with the pixels, cached, collated."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np
from pycocotools import mask as rle

from foundationx.core.errors import DataError
from foundationx.core.geometry.run_lengths import filled, unpacked_counts
from foundationx.core.runs import Runs
from foundationx.core.types import UNKNOWN_PIXEL, Batch, MaskPart, Move, ReferenceSize
from foundationx.tasks.definition import OUTSIDE_TOLERANCE, SourceImage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageMasks:
    """Masks (K, H, W) uint8 of one image: 0, 1 or 255 (unknown)."""

    masks: np.ndarray

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """Masks stretched to a square of ``side`` pixels; those of that size stay as they are."""
        if self.masks.shape[1:] == (side, side):
            return self
        # Exact: plain nearest takes the first pixel of each area, half a pixel beside what the image shows.
        return type(self)(
            np.stack([cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST_EXACT) for mask in self.masks])
        )

    def moved(self, move: Move) -> Self:
        """Masks of the view."""
        return type(self)(move.masks(self.masks))

    def mirrored(self, order: np.ndarray) -> Self:
        """Masks of a flipped image, in which sides have changed places."""
        return type(self)(self.masks[order])


@dataclass(slots=True, kw_only=True)
class SegmentationBatch(Batch):
    """Images with masks (B, K, H, W) uint8: 0, 1 or 255 (unknown)."""

    masks: Tensor


def scaled(part: MaskPart, reference: ReferenceSize, size: tuple[int, int]) -> MaskPart:
    """A part in pixels of ``reference`` for a copy of the image of another ``size`` (height, width); files stay."""
    if part.polygon is not None:
        scale = np.array([size[1] / reference.width, size[0] / reference.height])
        return replace(part, polygon=part.polygon * scale)
    return replace(part, scaled=True) if part.runs is not None else part


def draw(parts: Sequence[MaskPart], source: SourceImage) -> ImageMasks:
    """Draws published parts; a class that was not annotated in the image is unknown everywhere.

    Raises:
        DataError: A mask file cannot be read or has another size than its image, or a part lies outside.
    """
    masks = np.zeros((len(source.labels), *source.size), dtype=np.uint8)
    masks[np.isnan(source.labels)] = UNKNOWN_PIXEL
    for part in parts:
        _draw_part(masks[part.class_index], part, source)
    return ImageMasks(masks)


def payload(part: MaskPart, name: str) -> dict[str, Any]:
    """One part of a mask as plain values; ``name`` is that of its class."""
    if part.polygon is not None:
        return {"class": name, "polygon": part.polygon.tolist()}
    if part.runs is not None:
        runs = part.runs
        values = {"order": runs.order, "height": runs.height, "width": runs.width}
        values |= {"starts": runs.starts.tolist(), "lengths": runs.lengths.tolist()}
        return {"class": name, "runs": values, "scaled": part.scaled}
    pixels = {"positive": part.positive, "ignore": part.ignore, "scaled": part.scaled}
    return {"class": name, "file": part.file} | pixels


def part_of(values: Mapping[str, Any], class_index: int) -> MaskPart:
    """The part that :func:`payload` gave. Raises KeyError, TypeError or ValueError."""
    if "polygon" in values:
        return MaskPart(class_index, polygon=np.asarray(values["polygon"], dtype=np.float32).reshape(-1, 2))
    if "runs" in values:
        given = dict(values["runs"])
        starts, lengths = (np.asarray(given.pop(key), dtype=np.int64) for key in ("starts", "lengths"))
        return MaskPart(class_index, runs=Runs(starts, lengths, **given), scaled=values["scaled"])
    return MaskPart(class_index, values["file"], values["positive"], values["ignore"], scaled=values["scaled"])


def facts(parts: Sequence[MaskPart], labels: np.ndarray, file_state: Callable[[str], str]) -> list[str]:
    """All that the masks are drawn from, as text."""
    texts = [np.isnan(labels).tobytes().hex()]
    for part in parts:
        texts.append(repr((part.class_index, part.positive, part.ignore, part.scaled)))
        if part.file is not None:
            texts.append(file_state(part.file))
        if part.polygon is not None:
            texts.append(part.polygon.tobytes().hex())
        if part.runs is not None:
            runs = part.runs
            texts += [values.tobytes().hex() for values in runs.unpacked()]
            texts.append(repr((runs.order, runs.height, runs.width)))
    return texts


def pack(target: ImageMasks) -> bytes:
    """Masks as compressed bytes; a mask is mostly one value, so the quickest level suffices."""
    return zlib.compress(np.ascontiguousarray(target.masks).tobytes(), level=1)


def unpack(content: np.ndarray, side: int) -> ImageMasks:
    """The masks of :func:`pack`; they may be written to."""
    return ImageMasks(np.frombuffer(bytearray(zlib.decompress(content.tobytes())), np.uint8).reshape(-1, side, side))


def collate(common: Mapping[str, Any], targets: Sequence[ImageMasks], size: tuple[int, int]) -> SegmentationBatch:
    """Masks one beside the other."""
    import torch

    return SegmentationBatch(**common, masks=torch.from_numpy(np.stack([target.masks for target in targets])))


def paint(runs: Runs, size: tuple[int, int]) -> np.ndarray:
    """A run-length mask as (H, W) uint8, 0 and 1.

    Args:
        runs: Runs of foreground pixels.
        size: Height and width in pixels, if the runs name none.

    Raises:
        IndexError: A run goes beyond the last pixel.
    """
    height, width = runs.height or size[0], runs.width or size[1]
    change = np.zeros(height * width + 1, dtype=np.int8)
    starts, lengths = runs.unpacked()
    change[starts] += 1
    change[starts.astype(np.int64) + lengths] -= 1
    flat = np.cumsum(change[:-1], dtype=np.int8).view(np.uint8)
    return flat.reshape(height, width) if runs.order == "rows" else flat.reshape(width, height).T.copy()


def rasterised(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool inside a polygon, as pycocotools rasterises it: a square of 8 x 8 has 64 pixels.

    Args:
        polygon: Points (P, 2), at least three, x and y in pixels; 0, 0 is the outer corner of the first pixel.
        size: Height and width in pixels.
    """
    (drawn,) = rle.frPyObjects([polygon.astype(np.float64).ravel().tolist()], *size)
    return filled(unpacked_counts(drawn["counts"]), size)


def _draw_part(mask: np.ndarray, part: MaskPart, source: SourceImage) -> None:
    """Lays one part over a class's mask (H, W)."""
    if part.polygon is not None:
        limits = np.array(mask.shape[::-1]) + OUTSIDE_TOLERANCE
        if ((part.polygon < -OUTSIDE_TOLERANCE) | (part.polygon > limits)).any():
            raise source.outside(f"polygon of {len(part.polygon)} points")
        mask[rasterised(part.polygon, source.size)] = 1
        return
    values = _values(part, source)
    unknown = values == part.ignore if part.ignore is not None else np.zeros(mask.shape, dtype=bool)
    foreground = values == part.positive if part.positive is not None else values > 0
    if part.file is not None and not foreground.any():
        _refuse_other_foreground(values[~unknown], part, source)
    mask[unknown & (mask != 1)] = UNKNOWN_PIXEL  # what another part calls foreground is known
    mask[foreground & ~unknown] = 1


def _refuse_other_foreground(values: np.ndarray, part: MaskPart, source: SourceImage) -> None:
    """Raises DataError if a mask without ``positive`` pixels is foreground in other words, not empty.

    255 is the foreground of a mask of two values; a file of several classes may hold other ones and lack this one.
    """
    held = np.unique(values)
    others = held[held > 0].tolist()
    if others and (part.positive == 255 or others == [255]):
        shown = ", ".join(map(str, held[:5].tolist()))
        found = f"holds {shown}{', ...' if len(held) > 5 else ''} and no {part.positive}, so that nothing is foreground"
        where, expected = f"{source.row} ({part.file})", f"pixels of the value positive: {part.positive}"
        fix = f"write `positive: {others[-1]}` in the reader's options of the card, or leave it out (any but 0)"
        raise DataError(where, found, expected, fix)


def _values(part: MaskPart, source: SourceImage) -> np.ndarray:
    """Pixels (H, W) of a mask file or of runs, of the image's size."""
    if part.runs is not None:
        try:
            values = paint(part.runs, source.size)
        except IndexError:
            raise source.outside("a run-length mask") from None
    else:
        values = source.read_mask(part.file or "")
    height, width = source.size
    if values.shape != source.size and part.scaled:
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    if values.shape != source.size:
        raise DataError(
            f"{source.row} ({part.file or 'runs'})",
            f"the mask has {values.shape[1]} x {values.shape[0]} pixels, "
            f"its image {source.file} has {width} x {height}",
            "a mask of its image's size",
            "resize the mask with nearest-neighbour interpolation, or train with on_bad_sample='skip'",
        )
    return values
