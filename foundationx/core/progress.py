"""How long work reports its progress: one signature for all of it."""

from __future__ import annotations

import sys
from typing import Protocol


class ProgressCallback(Protocol):
    """Is called every so often by long work, from the process that does it."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Reports progress.

        Args:
            done: Parts of the work that are done.
            total: Parts in all.
            what: Name of the work, if the caller does several.
        """


def print_tenths(name: str) -> ProgressCallback:
    """Prints a line for every tenth of the images, from the process that decodes them.

    Args:
        name: What the images are decoded for.
    """
    printed = 0

    def report(done: int, total: int, what: str = "") -> None:
        nonlocal printed
        tenth = done * 10 // total
        if tenth != printed:
            print(f"{name}: {done} of {total} images decoded", flush=True)
        printed = tenth

    return report


class Tenths:
    """Prints how far work is, on standard error, for every tenth of it: what a bar shows where there is no terminal."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}

    def advance(self, what: str, count: int, total: int) -> None:
        """Counts parts that are done; a line is printed if they end a tenth.

        Args:
            what: Name of the work, ``fingerprints``.
            count: Further parts that are done.
            total: Parts in all.
        """
        before = self._done.get(what, 0)
        self._done[what] = done = before + count
        if total > 0 and done * 10 // total > before * 10 // total:
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


def no_progress(done: int, total: int, what: str = "") -> None:
    """Reports nothing."""
