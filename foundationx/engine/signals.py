"""A request to stop training."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from foundationx.core import distributed
from foundationx.core.signals import handling, heard


class StopRequest:
    """Whether somebody has asked this process, or another one of the job, to stop.

    Attributes:
        asked: This process was asked.
        asked_elsewhere: Any process was asked, as all know since the last message (``engine/agreement.py``).
    """

    def __init__(self) -> None:
        self.asked = False
        self.asked_elsewhere = False

    def ask(self) -> bool:
        """Takes a request. Returns whether it is the first."""
        first, self.asked = not self.asked, True
        return first

    @property
    def is_agreed(self) -> bool:
        """Whether all ranks know that one was asked: all of them stop after the same step."""
        return self.asked if distributed.world_size() == 1 else self.asked_elsewhere


@contextlib.contextmanager
def listening_for_stop(ask: Callable[[], bool]) -> Iterator[None]:
    """On a signal that asks to stop ``ask`` is called; if it returns False (asked already), the run ends at once.

    SIGINT and SIGTERM count even if the process ignored them before: training is stopped without loss.
    """

    numbers = {signal.SIGINT, signal.SIGTERM, *heard()}
    outer = {int(number): signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: FrameType | None) -> None:
        if ask():
            return
        if callable(
            taken := outer[number]
        ):  # who interrupts the command notes it: libraries make errors of theirs of it
            taken(number, frame)
        raise KeyboardInterrupt

    with handling(dict.fromkeys(numbers, handle)):
        yield
