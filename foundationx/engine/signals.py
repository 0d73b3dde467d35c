"""A request to stop training."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from foundationx.core import distributed
from foundationx.core.signals import handling


class StopRequest:
    """Whether somebody has asked this process, or another one of the job, to stop.

    Attributes:
        asked: this process was asked.
    """

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> bool:
        """Takes a request. Returns whether it is the first."""
        first, self.asked = not self.asked, True
        return first

    def is_agreed(self) -> bool:
        """Whether any rank was asked: all of them stop after the same step."""
        return distributed.all_reduce_any_on_host(self.asked)[0]


@contextlib.contextmanager
def listening_for_stop(ask: Callable[[], bool]) -> Iterator[None]:
    """On SIGINT or SIGTERM ``ask`` is called; if it returns False (asked before already), the run ends at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if not ask():
            raise KeyboardInterrupt

    with handling({signal.SIGINT: handle, signal.SIGTERM: handle}):
        yield
