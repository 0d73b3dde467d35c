"""Work that goes on beside training: one piece at a time, and what it raises is raised by who waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread for one piece of work at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begins a piece of work, after the one before has ended. Raises what that one has raised."""
        self.join()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="report")
        self._thread.start()

    def join(self) -> None:
        """Waits for the work. Raises what it has raised."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
