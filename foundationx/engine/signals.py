"""Signals while training: a request to stop, and the death of a worker process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from foundationx.core import distributed


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

    with _handlers({signal.SIGINT: handle, signal.SIGTERM: handle}):
        yield


@contextlib.contextmanager
def deaths_seen_when_reading() -> Iterator[None]:
    """Keeps a worker's death from being raised in the middle of a step.

    torch raises it from its SIGCHLD handler, wherever the main thread is: perhaps half way through the optimizer's
    step, after which nothing could be saved. Without that handler the next reading of a batch finds the dead worker,
    within five seconds. To be entered when the workers have been started: torch sets its handler then.
    """
    with _handlers({signal.SIGCHLD: signal.SIG_DFL}):
        yield


@contextlib.contextmanager
def _handlers(handlers: dict[signal.Signals, Callable | signal.Handlers]) -> Iterator[None]:
    """These handlers for a while; none outside the main thread: whoever runs us there handles signals."""
    try:
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:
        previous = {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
