"""How long work reports its progress: one signature for all of it."""

from __future__ import annotations

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


def no_progress(done: int, total: int, what: str = "") -> None:
    """Reports nothing."""
