"""What the training loop tells those who watch it: evaluation, logs, progress display, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundationx.schedule.plan import Phase, Plan


@dataclass(frozen=True)
class LogRecord:
    """Means over the steps since the last record; one row of ``log.jsonl``."""

    step: int
    phase: Phase
    losses: dict[str, float]
    lr: float
    images_per_second: float
    data_wait: float

    def as_json(self) -> dict[str, Any]:
        """The row, with plain values."""
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
        }


class Watcher:
    """Does nothing at every event; override those of interest. Watchers are told in the order of their list."""

    def on_start(self, plan: Plan, step: int) -> None:
        """Training begins, or goes on from ``step``."""

    def on_phase(self, phase: Phase) -> None:
        """A phase begins."""

    def on_step(self, phase: Phase, step: int) -> None:
        """A step is done; ``step`` steps in all. Called every step: be quick, and read nothing from the device."""

    def on_log(self, record: LogRecord) -> None:
        """Losses have been read."""

    def on_visit_end(self, phase: Phase) -> None:
        """A visit is over and the teacher updated."""

    def on_cycle_end(self, phase: Phase) -> None:
        """All datasets have been visited once more."""

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Training is over, or was stopped before its end."""
