"""The next batch of a loader, and what went wrong while it was read."""

from __future__ import annotations

from collections.abc import Iterator

from foundationx.core.types import Batch
from foundationx.data.loader import report_death, usable


def next_usable_batch(source: Iterator[Batch], on_bad_sample: str) -> Batch:
    """The next batch. Raises DataError if it may not be used, or if a worker has died."""
    try:
        return usable(next(source), on_bad_sample)
    except (RuntimeError, ConnectionError, EOFError) as error:
        report_death(error, "reading of images", "then start the same command again: it goes on")
        raise
