"""Shows a long run: bar, phase, losses, speed, waiting for data, time left. Plain lines if there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from foundationx.core.types import PhaseName, TaskKey

PLAIN_SECONDS = 10.0
"""Least time between two lines if the output is not a terminal."""

PLAIN_WIDTH = 200
"""Columns if the output is not a terminal, so that tables are not squeezed."""

SHORT_VISIT = 2.0
"""Seconds below which a visit has no line of its own on a terminal."""

SHOWN_LOSSES = ("task", "consistency")


class _Bar(Bar):
    """Two lines, so that it fits a terminal of 80 columns: phase and bar, then the facts."""

    def __init__(self, console: Console):
        counted = TextColumn("{task.completed:.0f}/{task.total:.0f}")
        phase = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        super().__init__(BarColumn(bar_width=16), counted, TimeElapsedColumn(), phase, console=console)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar's own line, and the facts below."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["facts"], no_wrap=True, overflow="ellipsis")


class Progress:
    """Display of one run; a context manager.

    Args:
        console: Console to print to; the terminal if it is None.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or _console()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._first_step: int | None = None
        self._started = 0.0
        self._last_line = float("-inf")
        self._phase = ""
        self._visit = ""
        self._records: list[tuple[dict[str, float], float]] = []
        self._visit_started = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self, total_steps: int, first_step: int | None = None) -> None:
        """Opens the display.

        Args:
            total_steps: steps that are still to do.
            first_step: steps done before, in a run that goes on. If None, the first update counts as one step.
        """
        self._total, self._first_step, self._started = total_steps, first_step, time.monotonic()
        if self.console.is_terminal:
            self._bar = _Bar(console=self.console)
            self._task = self._bar.add_task("starting", total=total_steps, facts="")
            self._bar.start()

    def phase(self, visit: int, visits: int, key: TaskKey, phase: PhaseName, steps: int) -> None:
        """Names what is trained now: visit 1 to ``visits``, head, phase and the phase's steps.

        A new visit ends the one before: its summary line is printed.
        """
        name = f"visit {visit}/{visits} {key}"
        if name != self._visit:
            if (
                not self._visit
            ):  # what came before the first step (evaluation) does not predict the speed of the steps to come
                self._started = time.monotonic()
            self._end_visit()
            self._visit, self._visit_started = name, time.monotonic()
        self._phase = f"{name} {phase.value}, {steps} steps"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._phase)

    def update(self, step: int, losses: dict[str, float], images_per_second: float, data_wait: float) -> None:
        """Shows progress.

        Args:
            step: steps done in all.
            losses: by name; ``task`` and ``consistency`` are shown.
            images_per_second: speed since the last update.
            data_wait: share of that time that went by waiting for data, 0 to 1.
        """
        if self._first_step is None:
            self._first_step = step - 1
        done = step - self._first_step
        self._records.append((losses, images_per_second))
        facts = f"{_losses(losses)}  {images_per_second:.0f} img/s  data {data_wait:.0%}  ETA {self._eta(done)}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, facts=facts)
        elif self._line_is_due() or done >= self._total:
            self._print_plain(f"{step}  {self._phase}  {facts}")

    def activity(self, text: str) -> None:
        """Names what is done between two phases, with how far it is; without a terminal only if a line is due."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)
        elif self._line_is_due():
            self._print_plain(text)

    def message(self, text: str) -> None:
        """One line above the bar."""
        self._print(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
        """A small table above the bar."""
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def stop(self) -> None:
        """Closes the display; the last visit's summary is printed."""
        self._end_visit()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _end_visit(self) -> None:
        """Prints mean losses, mean speed and time of the visit; without a terminal only if a line is due."""
        seconds = time.monotonic() - self._visit_started
        is_due = seconds >= SHORT_VISIT if self._bar is not None else self._line_is_due()
        if self._records and is_due:
            speed = sum(speed for _, speed in self._records) / len(self._records)
            means = _losses(_mean([losses for losses, _ in self._records]))
            self._print_plain(f"{self._visit} done  {means}  {speed:.0f} img/s  {_clock(seconds)}")
        self._records = []

    def _line_is_due(self) -> bool:
        return time.monotonic() - self._last_line >= PLAIN_SECONDS

    def _print_plain(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _eta(self, done: int) -> str:
        if not done:
            return "-"
        return _clock((time.monotonic() - self._started) / done * max(0, self._total - done))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def _losses(losses: dict[str, float]) -> str:
    return "  ".join(f"{name} {losses[name]:.3f}" for name in SHOWN_LOSSES if name in losses)


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every loss over the records that hold it."""
    names = {name for record in records for name in record}
    held = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(values) / len(values) for name, values in held.items()}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
