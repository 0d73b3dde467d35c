"""Shows a long run: bar, phase, losses, speed, waiting for data, time left. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from foundationx.types import PhaseName, TaskKey

PLAIN_SECONDS = 10.0
"""Least time between two lines where the output is not a terminal."""


class Progress:
    """Display of one run; a context manager.

    Args:
        console: where to print; the terminal where it is None.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self._bar: Bar | None = None
        self._task = None
        self._total = 0
        self._first_step: int | None = None
        self._started = 0.0
        self._last_line = 0.0
        self._phase = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self, total_steps: int) -> None:
        """Opens the display for ``total_steps`` steps that are still to do."""
        self._total, self._started = total_steps, time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = Bar(*columns, console=self.console)
            self._task = self._bar.add_task("starting", total=total_steps, facts="")
            self._bar.start()

    def phase(self, visit: int, visits: int, key: TaskKey, phase: PhaseName, steps: int) -> None:
        """Names what is trained now."""
        if self._first_step is None:  # what came before the first step (evaluation) says nothing of the steps to come
            self._started = time.monotonic()
        self._phase = f"visit {visit}/{visits} {key} {phase.value}"
        if self._bar is not None:
            self._bar.update(self._task, description=self._phase)

    def update(self, step: int, losses: dict[str, float], images_per_second: float, data_wait: float) -> None:
        """Shows progress. ``step`` steps are done in all; ``data_wait`` is the share of time waiting for data."""
        if self._first_step is None:
            self._first_step = step - 1
        done = step - self._first_step
        shown = [f"{name} {losses[name]:.3f}" for name in ("task", "consistency") if name in losses]
        facts = f"{'  '.join(shown)}  {images_per_second:.0f} img/s  data {data_wait:.0%}  ETA {self._eta(done)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, facts=facts)
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS or done >= self._total:
            self._last_line = time.monotonic()
            self.console.print(f"{step}  {self._phase}  {facts}", highlight=False, markup=False)

    def message(self, text: str) -> None:
        """One line above the bar."""
        self.console.print(text, highlight=False, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table above the bar."""
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def stop(self) -> None:
        """Closes the display."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _eta(self, done: int) -> str:
        if not done:
            return "-"
        left = (time.monotonic() - self._started) / done * max(0, self._total - done)
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"
