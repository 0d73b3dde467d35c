"""What the report shows, read from the work directory once. Every file may be missing: a run that has just begun."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from foundationx.core.types import Example, MetricRow, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report.measured import Measured, measure_head
from foundationx.evaluation.report.pictures import each_of
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, best_trivial

LARGEST = 1e6
"""Largest threshold of a file that is not damaged."""


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


@dataclass(eq=False)
class Facts:
    """Contents of a work directory.

    Attributes:
        folder: The work directory.
        run: Name, time, device, parameters, versions, machine, cards.
        plan: Visits with their phases.
        datasets: Rows of datasets.json.
        patients: Split by patient.
        log: Rows of the training log.
        metrics: All metric rows of models.
        trivial_rows: Those of trivial answers.
        curves: ROC curves by head.
        thresholds: Thresholds by head, model and class.
        groups: Headline metrics of subgroups of the test images.
        examples: By head: class names, model, examples.
        bad: What was skipped.
        incidents: What went wrong without ending the run.
        config: The resolved configuration.
    """

    folder: Path
    run: dict[str, Any]
    plan: dict[str, Any]
    datasets: list[dict[str, Any]]
    patients: dict[str, str]
    log: list[dict[str, Any]]
    metrics: list[MetricRow]
    trivial_rows: list[MetricRow]
    curves: dict[str, Any]
    thresholds: dict[str, Any]
    groups: list[dict[str, Any]]
    examples: dict[TaskKey, tuple[tuple[str, ...], str, list[Example]]]
    bad: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    config: dict[str, Any]

    @cached_property
    def heads(self) -> list[TaskKey]:
        """Every head that any file names, in the order of the cycle."""
        named = [*self.plan.get("visits", []), *self.log, *self.datasets]
        keys = [TaskKey(row["dataset"], Task(row["task"])) for row in named]
        keys += [TaskKey(row.dataset, Task(row.task)) for row in self.metrics]
        return list(dict.fromkeys([*keys, *self.examples]))

    def colour(self, key: TaskKey) -> int:
        """Number of a head's colour, the same in all tables and charts."""
        return self._numbers.get(key, 0)

    @cached_property
    def _numbers(self) -> dict[TaskKey, int]:
        return {key: number for number, key in enumerate(self.heads)}

    @cached_property
    def split(self) -> str:
        """Split of the headline figures: test if it was evaluated after training, else val."""
        trained = {row.split for row in self.metrics if row.visit > 0}
        return "test" if "test" in trained else "val"

    @cached_property
    def models(self) -> list[str]:
        """The models that have been evaluated after training: student and teacher first, then any other."""
        named = dict.fromkeys(row.model for row in self.metrics if row.visit > 0)
        return ["student", "teacher", *(name for name in named if name not in ("student", "teacher"))]

    @cached_property
    def model(self) -> str:
        """The model that curves and pictures are of: the teacher if it was evaluated, else the student."""
        named = {row.model for row in self.metrics if row.visit > 0}
        return "teacher" if "teacher" in named or not named else "student"

    @cached_property
    def visit(self) -> int:
        """Visits trained before the newest evaluation of the split of the headline figures."""
        return max((row.visit for row in self.metrics if row.split == self.split), default=0)

    def thresholds_of(self, key: TaskKey) -> dict[str, dict[str, Any]]:
        """Thresholds of a head and the model that is shown by class, as ``thresholds.json`` holds them."""
        by_class = self.thresholds.get(str(key), {}).get(self.model, {})
        return {
            name: entry
            for name, entry in by_class.items()
            if entry.get("visit") == self.visit
            and isinstance(entry.get("value"), int | float)
            and abs(entry["value"]) <= LARGEST
        }

    def images(self, split: Split) -> int:
        """Images of one split; the tasks of one dataset are annotated on the same images."""
        most: dict[str, int] = {}
        for row in self.datasets:
            if row["split"] == split:
                most[row["dataset"]] = max(most.get(row["dataset"], 0), row["images"])
        return sum(most.values())

    def images_of(self, key: TaskKey, split: str) -> int | None:
        """Images of one head in one split; None if the data was not counted yet."""
        return self._images_of.get((key.dataset, key.task.value, split))

    @cached_property
    def _images_of(self) -> dict[tuple[str, str, str], int]:
        return {(row["dataset"], row["task"], row["split"]): row["images"] for row in reversed(self.datasets)}

    def phases(self, key: TaskKey) -> list[OwnPhase]:
        """The planned phases of one head, in order."""
        phases, own = [], 0
        for visit in self.visits_of(key):
            for phase in visit["phases"]:
                phases.append(OwnPhase(phase["name"], phase["first_step"], phase["steps"], own))
                own += phase["steps"]
        return phases

    def visits_of(self, key: TaskKey) -> list[dict[str, Any]]:
        """The planned visits of one head, in order."""
        return self._visits.get((key.dataset, key.task.value), [])

    @cached_property
    def _visits(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        return _by_head(self.plan.get("visits", []))

    def log_of(self, key: TaskKey) -> list[dict[str, Any]]:
        """Rows of the training log of one head, in order."""
        return self._log.get((key.dataset, key.task.value), [])

    @cached_property
    def _log(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        return _by_head(self.log)

    def rows(self, key: TaskKey, metric: str, model: str | None = None, split: str | None = None) -> list[MetricRow]:
        """Rows of one head and metric, by visit."""
        return [
            row
            for row in self._rows.get((key.dataset, key.task.value, metric), ())
            if (model is None or row.model == model) and (split is None or row.split == split)
        ]

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], list[MetricRow]]:
        """Rows by head and metric, by visit."""
        found: dict[tuple[str, str, str], list[MetricRow]] = {}
        for row in sorted(self.metrics, key=lambda row: row.visit):
            found.setdefault((row.dataset, row.task, row.metric), []).append(row)
        return found

    def metric_names(self, key: TaskKey) -> list[str]:
        """Names of the metrics of one head, in the order of its rows."""
        return [name for dataset, task, name in self._rows if (dataset, task) == (key.dataset, key.task.value)]

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
        return best_trivial(self._trivial.get((key.dataset, key.task.value), ()), key, split)

    @cached_property
    def _trivial(self) -> dict[tuple[str, str], list[MetricRow]]:
        found: dict[tuple[str, str], list[MetricRow]] = {}
        for row in self.trivial_rows:
            found.setdefault((row.dataset, row.task), []).append(row)
        return found

    @cached_property
    def pictures_each(self) -> int:
        """Most pictures of a head."""
        return each_of(len(self.examples))

    @cached_property
    def measured(self) -> dict[TaskKey, Measured]:
        """What is computed of the stored predictions of the newest evaluation, by head, as far as there are any."""
        found = {}
        for key in self.heads:
            thresholds = {name: float(entry["value"]) for name, entry in self.thresholds_of(key).items()}
            pictures = min(len(self.examples[key][2]), self.pictures_each) if key in self.examples else 0
            split = Split(self.split)
            measured = measure_head(self.folder, key, split, self.model, self.visit, thresholds, pictures)
            if measured is not None:
                found[key] = measured
        return found


def _by_head(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows that name a dataset and a task, by these."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["dataset"], row["task"]), []).append(row)
    return found


def read_facts(folder: Path) -> Facts:
    """Reads a work directory."""
    work = WorkDir(folder)
    rows = work.read_metrics()
    return Facts(
        folder=folder,
        run=work.read_json("run.json", {}),
        plan=work.read_json("plan.json", {}),
        datasets=work.read_json("datasets.json", []),
        patients=work.read_json("splits.json", {}),
        log=work.read_log(),
        metrics=[row for row in rows if row.model not in (TRIVIAL, EMPTY)],
        trivial_rows=[row for row in rows if row.model in (TRIVIAL, EMPTY)],
        curves=work.read_json("curves.json", {}),
        thresholds=work.read_json("thresholds.json", {}),
        groups=work.read_json("subgroups.json", []),
        examples=work.read_examples(),
        bad=work.read_json("bad_samples.json", []),
        incidents=work.read_incidents(),
        config=work.read_json("config.json", {}),
    )
