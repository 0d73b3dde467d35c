"""What all ranks must know of a step: one small message between hosts, on its way while the forward pass runs.

It carries the requests to stop and to save, whether a batch could not be read, and the numbers that the losses divide
by. It is waited for when a loss first needs a number, which is before any other message of the step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields

import torch

from foundationx.core import distributed
from foundationx.core.errors import DataError
from foundationx.core.types import BadSample

SLOTS = 8
"""Most numbers that the losses of a head divide by."""


@dataclass(frozen=True)
class Flags:
    """What a rank says of a step; true for all if it is true for one.

    Attributes:
        stop: It was asked to stop.
        save: A checkpoint is due after this step.
        bad: Samples were left out of its batch.
        fault: Its batch could not be read.
    """

    stop: bool = False
    save: bool = False
    bad: bool = False
    fault: bool = False


class Agreement:
    """The message of one step.

    Args:
        flags: What this rank says.
        counts: Numbers that the losses of its batch divide by.
        bad: Samples that were left out of its batch.
        fault: Why its batch could not be read.

    Attributes:
        flags: What all ranks say, after :meth:`wait`.
        bad: Samples that were left out on any rank, after :meth:`wait`.
    """

    def __init__(
        self,
        flags: Flags,
        counts: Mapping[str, int],
        bad: tuple[BadSample, ...] = (),
        fault: DataError | None = None,
    ):
        self.flags, self.bad, self._fault = flags, bad, fault
        self._totals: dict[str, float] = dict(counts)
        self._wait: Callable[[], torch.Tensor] | None = None
        if distributed.world_size() > 1:
            padding = [0] * (SLOTS - len(counts))
            values = [*map(float, astuple(flags)), *map(float, counts.values()), *map(float, padding)]
            self._wait = distributed.start_sum(torch.tensor(values, dtype=torch.float64))

    def wait(self) -> Mapping[str, float]:
        """Waits until all ranks have said theirs.

        Returns:
            The numbers, added up over ranks.

        Raises:
            DataError: A batch could not be read, on any rank: all of them end at the same step.
        """
        if self._wait is not None:
            wait, self._wait = self._wait, None
            values = wait().tolist()
            names = [field.name for field in fields(Flags)]
            self.flags = Flags(**{name: value > 0 for name, value in zip(names, values, strict=False)})
            self._totals = dict(zip(self._totals, values[len(names) :], strict=False))
            if self.flags.bad:
                of_ranks = distributed.all_gather_object(self.bad)
                self.bad = tuple(entry for of_rank in of_ranks for entry in of_rank)
            if self.flags.fault:
                faults = distributed.all_gather_object(self._fault and self._fault.args)
                self._fault = self._fault or DataError(*next(entry for entry in faults if entry))
        if self._fault is not None:
            raise self._fault
        return self._totals

    @contextlib.contextmanager
    def counts(self) -> Iterator[None]:
        """Inside, losses find their numbers. Raises what :meth:`wait` raises, at the end at the latest."""
        with distributed.known_totals(self.wait):
            yield
        self.wait()
