"""The next batch, and what went wrong while it was read: on this rank, or on any."""

from __future__ import annotations

from collections.abc import Iterator

from foundationx.core import distributed
from foundationx.core.errors import DataError
from foundationx.core.types import BadSample, Batch
from foundationx.data.loader import report_death, usable


def next_synchronized_batch(source: Iterator[Batch], on_bad_sample: str) -> Batch:
    """The next batch, if every rank has one.

    Raises:
        DataError: it cannot be had, here or on another rank: all of them end at the same step.
    """
    fault: DataError | None = None
    try:
        batch = usable(next_batch(source), on_bad_sample)
    except DataError as error:
        fault = error
    (anywhere,) = distributed.all_reduce_any_on_host(fault is not None)
    if anywhere:
        faults = distributed.all_gather_object(fault and fault.args)
        raise fault or DataError(*next(entry for entry in faults if entry))
    return batch


def gather_bad_samples(batch: Batch, on_bad_sample: str) -> tuple[BadSample, ...]:
    """Samples that any rank left out of its share of the batch; none if that is an error."""
    if on_bad_sample == "raise":
        return batch.bad
    return tuple(entry for of_rank in distributed.all_gather_object(batch.bad) for entry in of_rank)


def next_batch(source: Iterator[Batch]) -> Batch:
    """The next batch. Raises DataError if a worker has died."""
    try:
        return next(source)
    except (RuntimeError, ConnectionError, EOFError) as error:
        report_death(error, "reading of images", "then go on with --resume")
        raise
