"""What the report shows, read from the work directory once. Every file may be missing: a run that has just begun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundationx.core.types import Example, MetricRow, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, best_trivial


@dataclass(frozen=True)
class OwnPhase:
    """A lock or release phase of one head; ``own_first`` counts only the steps that trained this head."""

    name: str
    first_step: int
    steps: int
    own_first: int


def own_step(phases: list[OwnPhase], step: int) -> int:
    """A step of the run as a step of the head; the step itself if the plan does not contain it."""
    for phase in phases:
        if phase.first_step < step <= phase.first_step + phase.steps:
            return phase.own_first + step - phase.first_step
    return step


@dataclass
class Facts:
    """Contents of a work directory.

    Attributes:
        run: Name, time, device, parameters.
        plan: Visits with their phases.
        datasets: Rows of datasets.json.
        patients: Split by patient.
        log: Rows of the training log.
        metrics: All metric rows of models.
        trivial_rows: Those of trivial answers.
        curves: ROC curves by head.
        examples: By head: class names, model, examples.
        bad: What was skipped.
        incidents: What went wrong without ending the run.
        config: The resolved configuration.
    """

    run: dict[str, Any]
    plan: dict[str, Any]
    datasets: list[dict[str, Any]]
    patients: dict[str, str]
    log: list[dict[str, Any]]
    metrics: list[MetricRow]
    trivial_rows: list[MetricRow]
    curves: dict[str, Any]
    examples: dict[TaskKey, tuple[tuple[str, ...], str, list[Example]]]
    bad: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    config: dict[str, Any]

    @property
    def heads(self) -> list[TaskKey]:
        """Every head that any file names, in the order of the cycle."""
        named = [*self.plan.get("visits", []), *self.log, *self.datasets]
        keys = [TaskKey(row["dataset"], Task(row["task"])) for row in named]
        keys += [TaskKey(row.dataset, Task(row.task)) for row in self.metrics]
        return list(dict.fromkeys([*keys, *self.examples]))

    @property
    def split(self) -> str:
        """Split of the headline figures: test if it was evaluated after training, else val."""
        trained = {row.split for row in self.metrics if row.visit > 0}
        return "test" if "test" in trained else "val"

    @property
    def models(self) -> list[str]:
        """The models that have been evaluated after training: student and teacher first, then any other."""
        named = dict.fromkeys(row.model for row in self.metrics if row.visit > 0)
        return ["student", "teacher", *(name for name in named if name not in ("student", "teacher"))]

    def images(self, split: Split) -> int:
        """Images of one split; the tasks of one dataset are annotated on the same images."""
        most: dict[str, int] = {}
        for row in self.datasets:
            if row["split"] == split:
                most[row["dataset"]] = max(most.get(row["dataset"], 0), row["images"])
        return sum(most.values())

    def images_of(self, key: TaskKey, split: str) -> int | None:
        """Images of one head in one split; None if the data was not counted yet."""
        named = (key.dataset, key.task.value, split)
        counts = [row["images"] for row in self.datasets if (row["dataset"], row["task"], row["split"]) == named]
        return counts[0] if counts else None

    def phases(self, key: TaskKey) -> list[OwnPhase]:
        """The planned phases of one head, in order."""
        phases, own = [], 0
        for visit in self.plan.get("visits", []):
            for phase in visit["phases"] if (visit["dataset"], visit["task"]) == (key.dataset, key.task.value) else ():
                phases.append(OwnPhase(phase["name"], phase["first_step"], phase["steps"], own))
                own += phase["steps"]
        return phases

    def rows(self, key: TaskKey, metric: str, model: str | None = None, split: str | None = None) -> list[MetricRow]:
        """Rows of one head and metric, by visit."""
        chosen = [
            row
            for row in self.metrics
            if (row.dataset, row.task, row.metric) == (key.dataset, key.task.value, metric)
            and (model is None or row.model == model)
            and (split is None or row.split == split)
        ]
        return sorted(chosen, key=lambda row: row.visit)

    def curve(self, key: TaskKey, metric: str) -> list[MetricRow]:
        """Means over classes of one head and metric that are defined, by visit: on validation if it was evaluated."""
        rows = [row for row in self.rows(key, metric) if row.class_name == "mean" and row.value is not None]
        split = "val" if any(row.split == "val" for row in rows) else self.split
        return [row for row in rows if row.split == split]

    def value(self, key: TaskKey, metric: str, class_name: str, model: str, split: str, last: bool) -> float | None:
        """A metric of the untrained model (``last`` false) or after the last visit."""
        rows = [row for row in self.rows(key, metric, split=split) if row.class_name == class_name]
        if not last:
            rows = [row for row in rows if row.visit == 0]
        else:
            rows = [row for row in rows if row.visit > 0 and row.model == model]
        return rows[-1].value if rows else None

    def trivial(self, key: TaskKey, split: str) -> float | None:
        """What the headline metric is without looking: the best of prior, mean box, mean mask and empty mask."""
        return best_trivial(self.trivial_rows, key, split)


def read_facts(folder: Path) -> Facts:
    """Reads a work directory."""
    work = WorkDir(folder)
    rows = work.read_metrics()
    return Facts(
        run=work.read_json("run.json", {}),
        plan=work.read_json("plan.json", {}),
        datasets=work.read_json("datasets.json", []),
        patients=work.read_json("splits.json", {}),
        log=work.read_log(),
        metrics=[row for row in rows if row.model not in (TRIVIAL, EMPTY)],
        trivial_rows=[row for row in rows if row.model in (TRIVIAL, EMPTY)],
        curves=work.read_json("curves.json", {}),
        examples=work.read_examples(),
        bad=work.read_json("bad_samples.json", []),
        incidents=work.read_incidents(),
        config=work.read_json("config.json", {}),
    )
