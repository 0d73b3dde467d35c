"""Signals: who handles them for a while, and SIGTERM as Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType


@contextlib.contextmanager
def handling(
    handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object] | signal.Handlers],
) -> Iterator[None]:
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


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does: what is open is closed, and the command says how it ended."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handling({signal.SIGTERM: interrupt}):
        yield
