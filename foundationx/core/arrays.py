"""Arrays with one entry per image that a task records of its predictions: plain ones, ragged ones, packed masks.

All three are appended batch by batch, read image by image, and stored as a few NumPy arrays by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

AnyArray: TypeAlias = NDArray[Any]

MOST_PIXELS = 1 << 16
"""Height and width of a stored mask."""

FARTHEST = 1e6
"""Largest coordinate of a stored box or point, and largest side of an image, in pixels."""

MOST_DIGITS = 6
"""Place of the highest byte of a run's length, from 0: 35 bits."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Values of a varying number per image, such as boxes.

    Attributes:
        values: (M, ...) values, image by image.
        counts: (N,) int64, number of values of each image.
    """

    values: AnyArray
    counts: AnyArray

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def of(cls, parts: Sequence[AnyArray]) -> Self:
        """Joins one array per image; at least one image."""
        return cls(np.concatenate(parts), np.array([len(part) for part in parts], dtype=np.int64))

    @cached_property
    def starts(self) -> AnyArray:
        """(N + 1,) index at which each image's values begin; the last entry is M."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @cached_property
    def images(self) -> AnyArray:
        """(M,) index of the image that each value belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def image(self, index: int) -> AnyArray:
        """The values of one image."""
        return self.values[self.starts[index] : self.starts[index + 1]]

    def take(self, chosen: AnyArray) -> Self:
        """Some of the images, by index or by a (N,) bool mask, in that order."""
        indices = np.arange(len(self))[chosen]
        return type(self)(self.values[_spans(self.starts, indices)], self.counts[indices])

    def parts(self) -> dict[str, AnyArray]:
        """The arrays that make it, by name; each grows along its first axis."""
        return {"values": self.values, "counts": self.counts}


@dataclass(frozen=True, eq=False)
class Masks:
    """K binary masks per image, compressed run by run as in COCO.

    Attributes:
        runs: (R,) uint8, compressed runs of all masks, image by image, class by class.
        counts: (N, K) int64, bytes of each mask's runs.
        sizes: (N, 2) int64, height and width of each image's masks in pixels.
    """

    runs: AnyArray
    counts: AnyArray
    sizes: AnyArray

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def encode(cls, masks: AnyArray) -> Self:
        """Compresses (N, K, H, W) masks, bool."""
        number, classes, height, width = masks.shape
        flat = masks.reshape(number * classes, height, width)
        columns = np.ascontiguousarray(flat.transpose(0, 2, 1), dtype=np.uint8).transpose(2, 1, 0)  # Fortran order
        coded = [mask["counts"] for mask in rle.encode(columns)]
        counts = np.array([len(part) for part in coded], dtype=np.int64).reshape(number, classes)
        sizes = np.tile(np.array([height, width], dtype=np.int64), (number, 1))
        return cls(np.frombuffer(b"".join(coded), dtype=np.uint8), counts, sizes)

    @cached_property
    def starts(self) -> AnyArray:
        """(N * K + 1,) index at which each mask's runs begin; the last entry is R."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def coded(self, image: int) -> list[dict[str, Any]]:
        """The K masks of one image as pycocotools takes them: ``size`` and ``counts``."""
        classes = self.counts.shape[1]
        ends = self.starts[image * classes : (image + 1) * classes + 1].tolist()
        runs = self.runs[ends[0] : ends[-1]].tobytes()
        size = self.sizes[image].tolist()
        return [{"size": size, "counts": runs[start - ends[0] : end - ends[0]]} for start, end in pairwise(ends)]

    def image(self, index: int) -> AnyArray:
        """The masks of one image, (K, H, W) bool."""
        decoded = rle.decode(self.coded(index))
        return np.ascontiguousarray(decoded.transpose(2, 0, 1)).astype(bool)

    def take(self, chosen: AnyArray) -> Self:
        """Some of the images, by index or by a (N,) bool mask, in that order."""
        indices = np.arange(len(self))[chosen]
        by_image = self.starts[:: self.counts.shape[1]]
        return type(self)(self.runs[_spans(by_image, indices)], self.counts[indices], self.sizes[indices])

    def parts(self) -> dict[str, AnyArray]:
        """The arrays that make it, by name; each grows along its first axis."""
        return {"runs": self.runs, "counts": self.counts, "sizes": self.sizes}


Recorded: TypeAlias = AnyArray | Ragged | Masks
"""What a task records under one name: (N, ...) values, ragged values, or masks."""


def check_array(value: object, shape: tuple[int | None, ...], least: float, greatest: float, kinds: str = "f") -> None:
    """Checks a plain array of a file that may come from others.

    Args:
        value: What the file holds.
        shape: Its shape; None for any length.
        least: Least value.
        greatest: Greatest value.
        kinds: NumPy's letters of the types that it may have.

    Raises:
        ValueError: It is something else, or holds numbers out of range or not finite.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.ndim != len(shape):
        raise ValueError(f"an array of shape {np.shape(np.asarray(value))} is none of {len(shape)} dimensions")
    if any(wanted is not None and wanted != length for wanted, length in zip(shape, value.shape, strict=True)):
        raise ValueError(f"an array has the shape {value.shape}, not {shape}")
    if not bool(((value >= least) & (value <= greatest)).all()):
        raise ValueError(f"an array holds values outside [{least:g}, {greatest:g}]")


def check_ragged(value: object, images: int) -> Ragged:
    """Ragged values of a file that may come from others. Raises ValueError: none, or of wrong counts."""
    if not isinstance(value, Ragged) or value.values.ndim == 0:
        raise ValueError("values of a varying number per image are missing")
    check_array(value.counts, (images,), 0, len(value.values), "iu")
    if int(value.counts.sum()) != len(value.values):
        raise ValueError("numbers of values do not add up")
    return value


def check_masks(value: object, images: int, classes: int) -> Masks:
    """Masks of a file that may come from others.

    Raises:
        ValueError: They are no masks, or the runs of one do not add up to its pixels: C code would trust them.
    """
    if not isinstance(value, Masks):
        raise ValueError("masks are missing")
    check_array(value.runs, (None,), 0, 255, "u")
    check_array(value.counts, (images, classes), 0, len(value.runs), "iu")
    check_array(value.sizes, (images, 2), 1, MOST_PIXELS, "iu")
    if int(value.counts.sum()) != len(value.runs):
        raise ValueError("lengths of masks do not add up")
    numbers, ends, is_last = _runs(value.runs)
    if len(is_last) and not is_last[value.starts[1:] - 1].all():
        raise ValueError("a mask ends within a number")
    bounds = np.concatenate([[0], ends])[value.starts]
    mask_of = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    lengths = _run_lengths(numbers, bounds[mask_of])
    pixels = np.repeat(value.sizes.prod(axis=1), classes)
    total = np.zeros(len(pixels), np.int64)
    np.add.at(total, mask_of, lengths)
    if (lengths < 0).any() or (lengths > pixels[mask_of]).any() or (total != pixels).any():
        raise ValueError("the runs of a mask do not add up to its pixels")
    return value


def _run_lengths(numbers: AnyArray, firsts: AnyArray) -> AnyArray:
    """Lengths of runs, which are stored as differences from the last but one, the first three of a mask as they are.

    Args:
        numbers: (L,) stored numbers of all masks, one after the other.
        firsts: (L,) index of the first number of each one's mask.

    Returns:
        (L,) lengths.
    """
    place = np.arange(len(numbers)) - firsts
    lengths = numbers.copy()
    for parity in (0, 1):
        chosen = np.flatnonzero((place > 0) & (place % 2 == parity))
        sums = np.cumsum(numbers[chosen])
        before = np.searchsorted(chosen, firsts[chosen])  # of those, the ones in earlier masks
        lengths[chosen] = sums - np.where(before > 0, sums[before - 1], 0)
    return lengths


def _runs(runs: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Numbers in COCO's notation: 5 bits per byte, from the lowest on, signed.

    Args:
        runs: (R,) uint8.

    Returns:
        The numbers; (R,) how many have ended up to each byte; (R,) whether one ends with it.

    Raises:
        ValueError: A byte is no part of a number, or a number is too long.
    """
    digits = runs.astype(np.int64) - 48
    if ((digits < 0) | (digits > 63)).any():
        raise ValueError("a mask holds bytes that are no runs")
    last = (digits & 32) == 0
    ends = np.cumsum(last)
    if not len(digits) or not last[-1]:
        raise ValueError("a mask ends within a number")
    index = ends - last
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(digits)) - starts[index]
    if (place > MOST_DIGITS).any():
        raise ValueError("a run is too long")
    values = np.zeros(len(starts), np.int64)
    np.add.at(values, index, (digits & 31) << (5 * place))
    negative = (digits[last] & 16) != 0
    values[negative] -= 1 << (5 * (place[last][negative] + 1))
    return values, ends, last


def parts_of(name: str, value: Recorded) -> dict[str, AnyArray]:
    """The plain arrays of a recorded value: ``name`` alone, or ``name.values``, ``name.counts`` and so on."""
    if isinstance(value, Ragged | Masks):
        return {f"{name}.{part}": array for part, array in value.parts().items()}
    return {name: value}


class PartsView(Mapping[str, Recorded]):
    """Recorded values by name, put together from plain arrays whenever one is asked for.

    Args:
        parts: Plain arrays as ``parts_of`` names them; they may open a file when an array is read.
    """

    def __init__(self, *parts: Mapping[str, AnyArray]):
        self._owners = {name: arrays for arrays in parts for name in arrays}
        self._names = list(dict.fromkeys(name.partition(".")[0] for name in self._owners))

    def __getitem__(self, name: str) -> Recorded:
        if f"{name}.runs" in self._owners:
            return Masks(*(self._part(f"{name}.{part}") for part in ("runs", "counts", "sizes")))
        if f"{name}.values" in self._owners:
            return Ragged(*(self._part(f"{name}.{part}") for part in ("values", "counts")))
        return self._part(name)

    def _part(self, name: str) -> AnyArray:
        return self._owners[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def spaced(indices: AnyArray, most: int) -> AnyArray:
    """At most so many of indices (n), evenly spaced, in their order; the first and the last one are among two or more.

    Args:
        indices: Indices of images.
        most: Number to choose at most.
    """
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(len(indices), most)).astype(int))]


def _spans(starts: AnyArray, indices: AnyArray) -> AnyArray:
    """Indices of all values of the chosen images, image by image."""
    spans = [np.arange(starts[index], starts[index + 1]) for index in indices]
    return np.concatenate([np.zeros(0, dtype=np.int64), *spans])
