"""Locations of annotations (``Data_Entry_2017.csv row 12``), kept as numbers until one is shown."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

_NO_NUMBER = -1


class Locations(Sequence[str]):
    """Many locations that differ in their last number: a million of them take 12 MB instead of 80."""

    __slots__ = ("_name_of", "_names", "_names_seen", "_numbers")

    def __init__(self, locations: Sequence[str] = ()):
        self._names: list[str] = []
        self._names_seen: dict[str, int] = {}
        self._name_of, self._numbers = array("i"), array("q")
        for location in locations:
            self.append(location)

    def append(self, location: str) -> None:
        """Adds one location."""
        name, _, number = location.rpartition(" ")
        counted = number.isascii() and number.isdecimal() and len(number) < 19 and str(int(number)) == number
        self._name_of.append(self._index(name if counted else location))
        self._numbers.append(int(number) if counted else _NO_NUMBER)

    def extend_rows(self, name: str, numbers: np.ndarray) -> None:
        """Adds ``name 1``, ``name 2`` ...

        Args:
            name: What stands before the numbers.
            numbers: Not negative, (N,) integers.
        """
        self._name_of.frombytes(np.full(len(numbers), self._index(name), dtype=np.int32).tobytes())
        self._numbers.frombytes(np.asarray(numbers, dtype=np.int64).tobytes())

    def _index(self, name: str) -> int:
        index = self._names_seen.setdefault(name, len(self._names))
        if index == len(self._names):
            self._names.append(name)
        return index

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        name, number = self._names[self._name_of[index]], self._numbers[index]
        return name if number == _NO_NUMBER else f"{name} {number}"

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as that of a list
