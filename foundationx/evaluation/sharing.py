"""Evaluation on several ranks: batches are dealt in turn, and what comes of them is collected in their order.

Every head has one rank that measures it. That rank is given the results of all batches in the order in which one
process has them, so that metrics are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from foundationx.core import distributed
from foundationx.core.errors import DataError

ROUNDS = 16
"""Batches of each rank after which results are handed over: they lie in memory until then."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def own_share(batches: Sequence[Item]) -> list[Item]:
    """The batches of this rank: every n-th; if one is left over, the first rank, which also writes, has one less."""
    return list(batches[_turn() :: distributed.world_size()])


def _turn() -> int:
    """The place of this rank when batches are dealt: the last one comes first."""
    return distributed.world_size() - 1 - distributed.rank()


def measuring_rank(number: int) -> int:
    """The rank that measures the head of a number: the last one first, for the first one also writes."""
    return -(number + 1) % distributed.world_size()


def collect_in_order(
    count: int,
    results: Iterator[Result],
    part_for: Callable[[Result, int], Any],
    take: Callable[[Any], None],
) -> None:
    """Hands the results of all ranks to those that measure.

    Args:
        count: Number of batches of all ranks.
        results: Results of this rank's batches, computed one by one.
        part_for: What a rank is to be given of a result; None if nothing.
        take: Called with what this rank is given of every batch, in the order of batches.

    Raises:
        DataError: An image could not be used, on any rank; all of them end.
    """
    ranks, own = distributed.world_size(), _turn()
    waiting: list[tuple[int, Result]] = []
    fault: DataError | None = None
    rounds = -(-count // ranks)
    for index in range(rounds):
        number = index * ranks + own
        if number < count and fault is None:
            try:
                waiting.append((number, next(results)))
            except DataError as error:
                if ranks == 1:
                    raise
                fault = error
        if ranks == 1 or (index + 1) % ROUNDS == 0 or index + 1 == rounds:
            _hand_over(waiting, fault, part_for, take)
            waiting = []


def _hand_over(
    waiting: list[tuple[int, Result]],
    fault: DataError | None,
    part_for: Callable[[Result, int], Any],
    take: Callable[[Any], None],
) -> None:
    """Sends every rank its parts and takes this rank's. Raises DataError as :func:`collect_in_order`."""
    faults = distributed.all_gather_object(fault and fault.args)
    if any(faults):
        raise fault or DataError(*next(entry for entry in faults if entry))
    for rank in range(distributed.world_size()):
        parts = [(number, part_for(result, rank)) for number, result in waiting]
        gathered = distributed.gather_object([entry for entry in parts if entry[1] is not None], rank)
        for _, part in sorted((entry for of_rank in gathered for entry in of_rank), key=lambda entry: entry[0]):
            take(part)
