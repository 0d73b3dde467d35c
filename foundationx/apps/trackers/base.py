"""What trackers share: they mirror the run's own log, so that a killed and resumed run has every step once.

A tracker is one file of this folder with a class derived from :class:`Tracker`. It is given numbers with names and a
step, in the order of steps. When a run begins or goes on, it is first given those that ``log.jsonl`` and
``metrics.json`` hold: a tracker with a store of its own starts it anew, one with a store elsewhere passes over what is
there. A tracker that fails does not end the run: it is tried again later, and at the end.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from foundationx.core.config.run import RunConfig
from foundationx.core.distribution import install_hint
from foundationx.core.errors import ConfigError
from foundationx.core.types import MetricRow
from foundationx.core.workdir import WorkDir
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.schedule.plan import Plan
from foundationx.evaluation.statistic import MEAN

RETRY_SECONDS = 60.0
"""Least time between two attempts of a tracker that has failed."""

Values = dict[str, float]
"""Numbers of one step, by name."""


class Tracker(Hook, ABC):
    """Hands losses, learning rate, speed and the metrics of every evaluation to a library.

    Args:
        config: Configuration of the run.
        folder: Work directory.
        report: Takes incidents.

    Raises:
        ConfigError: The library is not installed.

    Attributes:
        extra: Extra of the package that installs the library.
    """

    extra: ClassVar[str]

    def __init__(self, config: RunConfig, folder: WorkDir, report: Callable[[Incident], None]):
        self.config, self.folder = config, folder
        self._report = report
        self._waiting: list[tuple[int, Values]] = []
        self._sent: set[tuple[str, int]] = set()
        self._visit_steps: dict[int, int] = {}
        self._step = 0
        self._is_open = False
        self._failed_at: float | None = None
        try:
            self.load()
        except ImportError as error:
            found = f"{type(self).__name__} needs a package that is not installed ({error})"
            raise ConfigError(
                "runtime.trackers", found, f"the extra {self.extra!r}", install_hint(self.extra)
            ) from None

    @abstractmethod
    def load(self) -> None:
        """Imports the library. Raises ImportError."""

    @abstractmethod
    def open(self) -> set[tuple[str, int]]:
        """Opens the run in the tracker's store.

        Returns:
            Names and steps that the store holds already and that are not to be added again.
        """

    @abstractmethod
    def add(self, values: Values, step: int) -> None:
        """Adds numbers of a step; steps do not decrease."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left."""

    def on_start(self, plan: Plan, step: int) -> None:
        """Opens the store; what the run has logged up to ``step`` comes first."""
        self._visit_steps = {0: 0} | {phase.visit: phase.end_step for phase in plan.phases}
        self._step = step
        self._waiting += self._history(step)
        self._send(step)

    def on_log(self, record: LogRecord) -> None:
        """Losses, learning rate and speed."""
        self._step = record.step
        self._waiting.append((record.step, values_of_row(record.as_json())))
        self._send(record.step)

    def on_evaluation(self, rows: Sequence[MetricRow], step: int) -> None:
        """Metrics of an evaluation."""
        self._waiting.append((step, values_of_metrics(rows)))
        self._send(step)

    def finish(self) -> None:
        """Sends what waits and closes the store."""
        self._failed_at = None
        self._send(self._step)
        if self._is_open:
            self._guarded(self.close, self._step)

    def _history(self, last: int) -> Iterator[tuple[int, Values]]:
        """What the run's own files hold up to a step, in the order of steps."""
        rows = [(row["step"], values_of_row(row)) for row in self.folder.read_log()]
        by_visit: dict[int, list[MetricRow]] = {}
        for row in self.folder.read_metrics():
            by_visit.setdefault(row.visit, []).append(row)
        evaluated = [(self._visit_steps.get(visit, -1), values_of_metrics(of)) for visit, of in by_visit.items()]
        yield from sorted(((at, v) for at, v in [*rows, *evaluated] if 0 <= at <= last), key=lambda pair: pair[0])

    def _send(self, step: int) -> None:
        """Hands over what waits, unless the tracker has just failed."""
        if self._failed_at is None or time.monotonic() - self._failed_at >= RETRY_SECONDS:
            self._guarded(self._send_waiting, step)

    def _send_waiting(self) -> None:
        if not self._is_open:
            self._sent |= self.open()
            self._is_open = True
        while self._waiting:
            step, values = self._waiting[0]
            new = {name: value for name, value in values.items() if (name, step) not in self._sent}
            if new:
                self.add(new, step)
                self._sent |= {(name, step) for name in new}
            self._waiting.pop(0)

    def _guarded(self, action: Callable[[], None], step: int) -> None:
        """Runs something of the library; an error becomes an incident, the first of a series alone."""
        try:
            action()
        except Exception as error:  # whatever a foreign library, its disk or its network does
            if self._failed_at is None:
                reason = " ".join(str(error).split())[:200]
                message = (
                    f"tracker {type(self).__name__}: {type(error).__name__}: {reason}; training goes on without it"
                )
                self._report(Incident(step, "io", message))
            self._failed_at = time.monotonic()
        else:
            self._failed_at = None


def values_of_row(row: dict[str, Any]) -> Values:
    """Numbers of a row of ``log.jsonl``, by name."""
    values = {f"{row['dataset']}/{row['task']}/{name}": value for name, value in row["losses"].items()}
    further = {name: row.get(name) for name in ("lr", "images_per_second", "data_wait")}
    return values | {f"run/{name}": value for name, value in further.items() if isinstance(value, (int, float))}


def values_of_metrics(rows: Iterable[MetricRow]) -> Values:
    """The means over classes that are defined, by name: ``val/DATASET/TASK/METRIC/MODEL``."""
    return {
        f"{row.split}/{row.dataset}/{row.task}/{row.metric}/{row.model}": row.value
        for row in rows
        if row.class_name == MEAN and row.value is not None
    }


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary as one level: ``{"model": {"mean": 1}}`` as ``{"model.mean": 1}``."""
    flattened: dict[str, Any] = {}
    for name, value in values.items():
        flattened |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flattened
