"""Signals: who handles them for a while, and the interruption of a command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any
from weakref import WeakSet

ASKING_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C; what machines send that shut down; what schedulers send before the time is over (``sbatch --signal``)."""

SENT_AGAIN = 0.1
"""Seconds after which a signal is sent again that Python could not raise."""

TAKES_LOADERS_DOWN, DEAD_READER = "torch.utils.data.dataloader", "DataLoader worker (pid"
"""Module whose destructors end the processes that read data; how the error begins that torch's handler of dead children
raises wherever this process is. The loader that misses a reader finds out by itself."""

_OWN: WeakSet[Any] = WeakSet()
"""Handlers of this program."""


def heard() -> list[signal.Signals]:
    """Signals that ask to stop and that this process may handle.

    Not those that it ignores, as jobs in the background of a shell do, nor the two that a scheduler inside this process
    handles for itself, as submitit does.
    """
    result = []
    for number in ASKING_TO_STOP:
        handler = signal.getsignal(number)
        is_free = handler in (signal.SIG_DFL, signal.default_int_handler) or (callable(handler) and handler in _OWN)
        is_private = number in (signal.SIGUSR1, signal.SIGUSR2)
        if handler is not None and handler != signal.SIG_IGN and (is_free or not is_private):
            result.append(number)
    return result


@contextlib.contextmanager
def handling(
    handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object] | signal.Handlers],
) -> Iterator[None]:
    """These handlers for a while; none outside the main thread: whoever runs us there handles signals."""
    _OWN.update(handler for handler in handlers.values() if not isinstance(handler, signal.Handlers))
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
        requested: A signal that asks to stop has arrived.
        number: The last one.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number: int | None = None


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Signals that ask to stop raise KeyboardInterrupt, and are noted: libraries turn some into errors of theirs.

    A signal that this process ignores is ignored on. One that arrives while Python takes an object down can raise
    nothing there, and would leave a trace alone: it is sent once more. Nor is there a trace where a loader of data is
    taken down, or of a reader that was killed.
    """
    interruption, print_ignored = Interruption(), sys.unraisablehook
    again: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruption.requested, interruption.number = True, number
        raise KeyboardInterrupt

    def ignored(found: sys.UnraisableHookArgs) -> None:
        if interruption.number is not None and isinstance(found.exc_value, KeyboardInterrupt):
            again.append(threading.Timer(SENT_AGAIN, os.kill, (os.getpid(), interruption.number)))
            again[-1].start()
        elif not _is_of_a_loader(found):
            print_ignored(found)

    with handling(dict.fromkeys(heard(), interrupt)):
        sys.unraisablehook = ignored
        try:
            yield interruption
        finally:
            sys.unraisablehook = print_ignored
            for timer in again:
                timer.cancel()


def _is_of_a_loader(found: sys.UnraisableHookArgs) -> bool:
    """Whether an error that Python could not raise comes from a loader's end or from a dead reader."""
    is_end = getattr(found.object, "__module__", "") == TAKES_LOADERS_DOWN
    return is_end or str(found.exc_value).startswith(DEAD_READER)
