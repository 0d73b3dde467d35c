"""Run-length masks, packed: outlines of organs change by few pixels from line to line, so most runs take one byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

Order = Literal["rows", "columns"]

_HEADER = struct.Struct("<iiiiib")
"""Number of runs, first start, first length, usual distance of starts, end of the last run, bytes of an exception."""

_GROUP = 2**19
"""Bytes of text parsed at once: with larger arrays, which leave the cache, it takes a sixth longer."""

_SMALL = 7
"""Largest change of start and length that fits into the halves of a byte."""


class Runs:
    """A run-length mask: foreground runs by their first pixel, counted from 0, and their length.

    Args:
        starts: First pixels, ascending, (n,) integers below 2**31.
        lengths: Lengths, positive, (n,) integers.
        order: Whether pixels are numbered along rows or down columns.
        height: Height of the mask in pixels; None: that of the image.
        width: Width of the mask in pixels; None: that of the image.
    """

    __slots__ = ("_packed", "height", "order", "width")

    def __init__(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        order: Order,
        height: int | None = None,
        width: int | None = None,
    ):
        (self._packed,) = pack(np.asarray(starts), np.asarray(lengths), np.array([len(starts)]))
        self.order, self.height, self.width = order, height, width

    @classmethod
    def of_packed(cls, packed: bytes, order: Order, height: int | None, width: int | None) -> Runs:
        """The mask of bytes that :func:`pack` gave."""
        runs = cls.__new__(cls)
        runs._packed, runs.order, runs.height, runs.width = packed, order, height, width
        return runs

    @property
    def end(self) -> int:
        """The pixel behind the last run."""
        return int(_HEADER.unpack_from(self._packed)[4])

    def unpacked(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts and lengths, (n,) int32 each."""
        count, start, length, stride, _, width = _HEADER.unpack_from(self._packed)
        codes = np.frombuffer(self._packed, np.uint8, count, _HEADER.size)
        changes = np.empty((2, count), dtype=np.int32)
        changes[0], changes[1] = (codes >> 4).astype(np.int32) + stride - 8, (codes & 15).astype(np.int32) - 8
        rest = np.frombuffer(self._packed, np.dtype(f"<i{width}"), offset=_HEADER.size + count).reshape(-1, 2)
        changes[:, codes == 0] = rest.T
        if count:
            changes[:, 0] = start, length
        starts, lengths = np.cumsum(changes, axis=1, dtype=np.int32)
        return starts, lengths

    @property
    def starts(self) -> np.ndarray:
        """First pixel of each run, counted from 0, (n,) int32."""
        return self.unpacked()[0]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each run in pixels, (n,) int32."""
        return self.unpacked()[1]

    def __repr__(self) -> str:
        return f"Runs({self.starts}, {self.lengths}, {self.order!r}, {self.height}, {self.width})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Runs):
            return NotImplemented
        mine, theirs = ((one._packed, one.order, one.height, one.width) for one in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self._packed)


def pack(starts: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> list[bytes]:
    """Many masks as bytes: one byte per run, and four or eight more where start or length change by many pixels.

    Args:
        starts: Starts of the runs of all masks, one mask after the other, (n,).
        lengths: Lengths of the runs, (n,).
        counts: Number of runs of each mask, (m,), summing to n.
    """
    if not len(starts):
        return [_HEADER.pack(0, 0, 0, 0, 0, 2)] * len(counts)
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    of_mask = np.repeat(np.arange(len(counts)), counts)
    steps, grown = np.diff(starts, prepend=0).astype(np.int32), np.diff(lengths, prepend=0).astype(np.int32)
    spread = [np.minimum(first + 1 + (counts - 1) * part // 4, last) for part in (1, 2, 3)]
    stride = np.median(steps[np.maximum(spread, 0)], axis=0).astype(np.int32) * (counts > 1)
    moved = steps - stride[of_mask]
    begins = np.zeros(len(starts), dtype=bool)
    begins[first[counts > 0]] = True
    moved[begins] = grown[begins] = 0
    large = (np.abs(moved) > _SMALL) | (np.abs(grown) > _SMALL)
    codes = (((moved + 8) << 4) | (grown + 8)).astype(np.uint8)
    codes[large] = 0
    rest = np.stack([steps[large], grown[large]], axis=1).astype("<i4")
    ends = np.concatenate([[0], np.cumsum(np.bincount(of_mask[large], minlength=len(counts)))])
    return _joined(starts, lengths, first, last, stride, codes, rest, ends)


def _joined(
    starts: np.ndarray,
    lengths: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    stride: np.ndarray,
    codes: np.ndarray,
    rest: np.ndarray,
    ends: np.ndarray,
) -> list[bytes]:
    """Header, codes and exceptions of each mask."""
    all_codes, short, long = codes.tobytes(), rest.astype("<i2").tobytes(), rest.tobytes()
    fits = np.concatenate([[0], np.cumsum((rest != rest.astype("<i2")).any(axis=1))])
    packed = []
    for mask, (begin, stop) in enumerate(zip(first.tolist(), (last + 1).tolist(), strict=True)):
        if begin == stop:
            packed.append(_HEADER.pack(0, 0, 0, 0, 0, 2))
            continue
        low, high = int(ends[mask]), int(ends[mask + 1])
        width, source = (2, short) if fits[low] == fits[high] else (4, long)
        end = int(starts[stop - 1]) + int(lengths[stop - 1])
        header = _HEADER.pack(
            stop - begin, int(starts[begin]), int(lengths[begin]), int(stride[mask]), min(end, 2**31 - 1), width
        )
        packed.append(header + all_codes[begin:stop] + source[2 * width * low : 2 * width * high])
    return packed


def parse_numbers(text: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Whole numbers of at most eight digits, each followed by one space; None if there is anything else.

    Returns:
        Numbers (n,) int64, and the position of the space behind each.
    """
    letters = np.frombuffer(text + bytes(8), dtype=np.uint8)
    inside = letters[: len(text)]
    spaces = inside == 32
    if not ((inside - np.uint8(48) < 10) | spaces).all():
        return None
    ends = np.flatnonzero(spaces)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts
    if digits.max(initial=0) > 8 or digits.min(initial=1) < 1:
        return None
    words = np.ndarray(len(text) + 1, dtype="<u8", buffer=letters, strides=(1,))[starts]
    return _of_digits(words, digits), ends


_ZEROS = np.uint64(0x3030303030303030)
_SHIFTS = np.array([0, *(8 * (8 - digits) for digits in range(1, 9))], dtype=np.uint64)
_BYTES = np.uint64(0x000000FF000000FF)


def _of_digits(words: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """The numbers in words of eight bytes, of which the first ``digits`` are digits: pairs, then fours, then eights."""
    values = (words - _ZEROS) << _SHIFTS[digits]
    values = values * np.uint64(10) + (values >> np.uint64(8))
    fours = (values & _BYTES) * np.uint64(0x000F424000000064)
    values = fours + ((values >> np.uint64(16)) & _BYTES) * np.uint64(0x0000271000000001)
    return (values >> np.uint64(32)).astype(np.int64)


def pack_cells(cells: Sequence[bytes], relative: bool, first: int) -> list[bytes | str]:
    """Published masks ``start length start length ...`` as packed runs; a cell that is not a mask stays text.

    Args:
        cells: Cells of a column.
        relative: Whether starts count from the end of the previous run.
        first: Index of the first pixel: 0 or 1.
    """
    likely = [index for index, cell in enumerate(cells) if b" " in cell and b"-" not in cell]
    packed: list[bytes | None] = []
    for group in _groups([cells[index] for index in likely]):
        packed += _pack_all(group, relative, first)
    values: list[bytes | str] = [cell.decode() for cell in cells] if len(likely) < len(cells) else [""] * len(cells)
    for index, value in zip(likely, packed, strict=True):
        values[index] = cells[index].decode() if value is None else value
    return values


def _groups(cells: list[bytes]) -> Iterator[list[bytes]]:
    """The cells in order, in groups of about :data:`_GROUP` bytes."""
    ends = np.cumsum([len(cell) for cell in cells])
    begin = 0
    while begin < len(cells):
        before = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, before + _GROUP)))
        yield cells[begin:stop]
        begin = stop


def _pack_all(cells: list[bytes], relative: bool, first: int) -> list[bytes | None]:
    """The packed runs of each cell; None if its text is not that of a mask."""
    if not cells:
        return []
    runs = _pack_some(cells, relative, first)
    if runs is not None:
        return list(runs)
    if len(cells) == 1:
        return [None]
    half = len(cells) // 2  # few cells are wrong: they are found by halves
    return _pack_all(cells[:half], relative, first) + _pack_all(cells[half:], relative, first)


def _pack_some(cells: list[bytes], relative: bool, first: int) -> list[bytes] | None:
    """The packed runs of the cells; None if one of them is not a mask."""
    parsed = parse_numbers(b" ".join([*cells, b""]))
    if parsed is None:
        return None
    numbers, spaces = parsed
    ends = np.searchsorted(spaces, np.cumsum([len(cell) + 1 for cell in cells]) - 1) + 1
    counts = np.diff(ends, prepend=0)
    if (counts % 2).any():
        return None
    counts //= 2
    starts, lengths = numbers[::2], numbers[1::2]
    begins = np.cumsum(counts) - counts
    if relative:
        steps = starts + np.concatenate([[0], lengths[:-1]])
        steps[begins] = starts[begins]
        sums = np.cumsum(steps)
        starts = sums - np.repeat(sums[begins] - steps[begins], counts)
    starts = starts - first
    gaps = np.diff(starts, prepend=0) - np.concatenate([[0], lengths[:-1]])
    gaps[begins] = starts[begins]
    if (lengths == 0).any() or (gaps < 0).any() or starts.max() + lengths.max() >= 2**31:
        return None
    return pack(starts, lengths, counts)
