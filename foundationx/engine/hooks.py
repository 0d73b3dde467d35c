"""Hooks: what the training loop calls at its events, for evaluation, logs, progress display and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundationx.core.types import MetricRow
from foundationx.engine.schedule.plan import Phase, Plan


@dataclass(frozen=True)
class LogRecord:
    """Means over the steps since the last record; one row of ``log.jsonl``.

    Attributes:
        jump: In the first record of a visit whose head was visited before, its task loss divided by the last one of
            the head's visit before: what the visits between did to the head. Else None.
    """

    step: int
    phase: Phase
    losses: dict[str, float]
    lr: float
    images_per_second: float
    data_wait: float
    jump: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The row, with plain values."""
        jump = {} if self.jump is None else {"jump": round(self.jump, 4)}
        return {
            "step": self.step,
            "visit": self.phase.visit,
            "cycle": self.phase.cycle,
            "dataset": self.phase.key.dataset,
            "task": self.phase.key.task.value,
            "phase": self.phase.name.value,
            "losses": {name: round(value, 6) for name, value in self.losses.items()},
            "lr": self.lr,
            "momentum": self.phase.momentum,
            "consistency_weight": self.phase.consistency,
            "images_per_second": round(self.images_per_second, 2),
            "data_wait": round(self.data_wait, 4),
        } | jump


@dataclass(frozen=True)
class Incident:
    """Something that went wrong and did not end the run, or changed in it; one row of ``incidents.jsonl``.

    Attributes:
        step: Steps done when it was found; for ``nonfinite`` the step itself.
        kind: ``nonfinite`` (a loss or gradient that is not finite), ``loss_jump`` (a head's loss has jumped between two
            visits), ``collapse`` (features of different images are nearly equal), ``io`` (a file that could not be
            written or read), ``changed`` (a key of the configuration that a resumed run takes from here on).
        dataset, task: Head, empty if it concerns none.
        message: What was found and what was done.
        images: Names of the batch's images.
    """

    step: int
    kind: str
    message: str
    dataset: str = ""
    task: str = ""
    images: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The row."""
        return asdict(self)

    def __str__(self) -> str:
        head = f", {self.dataset}/{self.task}" if self.dataset else ""
        images = f" ({', '.join(self.images)})" if self.images else ""
        return f"step {self.step}{head}: {self.message}{images}"


class Hook:
    """Does nothing at every event; override those of interest. Hooks are called in the order of their list."""

    def on_start(self, plan: Plan, step: int) -> None:
        """Training begins, or goes on from ``step``."""

    def on_phase(self, phase: Phase) -> None:
        """A phase begins."""

    def on_step(self, phase: Phase, step: int) -> None:
        """A step is done; ``step`` steps in all. Called every step: be quick, and read nothing from the device.

        Updates of the teacher may be deferred here: ``teacher.flush()`` carries them out.
        """

    def on_log(self, record: LogRecord) -> None:
        """Losses have been read."""

    def on_incident(self, incident: Incident) -> None:
        """Something went wrong; training goes on."""

    def on_visit_end(self, phase: Phase) -> None:
        """A visit is over and the teacher updated."""

    def on_cycle_end(self, phase: Phase) -> None:
        """All datasets have been visited once more."""

    def on_evaluation(self, rows: Sequence[MetricRow], step: int) -> None:
        """Heads have been evaluated on a split, after so many steps."""

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Training is over, or was stopped before its end."""
