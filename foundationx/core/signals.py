"""Signals: who handles them for a while, and the interruption of a command."""

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


class Interruption:
    """Whether this process was told to end.

    Attributes:
        requested: SIGINT or SIGTERM has arrived.
    """

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """SIGINT (Ctrl-C) and SIGTERM raise KeyboardInterrupt, and are noted: libraries turn some into errors of theirs.

    A signal that this process ignores, as jobs in the background of a shell do, is ignored on.
    """
    interruption = Interruption()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruption.requested = True
        raise KeyboardInterrupt

    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    with handling(dict.fromkeys(heard, interrupt)):
        yield interruption
