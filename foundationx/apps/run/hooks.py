"""Hooks that join the loop to display, evaluation, report and export."""

from __future__ import annotations

import datetime
import functools
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from foundationx.apps.run.excluded import write_quarantine
from foundationx.apps.run.marks import marked
from foundationx.core import distributed
from foundationx.core.arrays import AnyArray
from foundationx.core.background import Background
from foundationx.core.errors import ConfigError, DiskError, FoundationXError, nearest
from foundationx.core.types import MetricRow, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import DataModule
from foundationx.datasets.attributes import groups_of
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.progress import Progress
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.collapse import collapsed
from foundationx.evaluation.evaluator import Evaluation, evaluate
from foundationx.evaluation.images import ImageReader
from foundationx.evaluation.measure import is_headline, lower_is_better
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.report.pictures import each_of
from foundationx.evaluation.shown import case_examples
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.stored import store
from foundationx.evaluation.subgroups import scores
from foundationx.evaluation.thresholds import Thresholds
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, PassedOver, Trivial, run_trivial
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import export_backbone


class Display(Hook):
    """Shows the run on the terminal."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.visits = 0

    def on_start(self, plan: Plan, step: int) -> None:
        """Opens the bar."""
        self.visits = plan.total_visits
        self.progress.start(plan.total_steps - step, step)

    def on_phase(self, phase: Phase) -> None:
        """Names the phase."""
        self.progress.phase(phase.visit, self.visits, phase.key, phase.name, phase.steps)

    def on_log(self, record: LogRecord) -> None:
        """Shows losses and speed."""
        self.progress.update(record.step, record.losses, record.images_per_second, record.data_wait)

    def on_incident(self, incident: Incident) -> None:
        """One line above the bar."""
        self.progress.message(f"note: {incident}")

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Closes the bar."""
        self.progress.stop()


MOST_NAMED = 5
"""Images that a line of the log names."""


class EvaluateAndReport(Hook):
    """Evaluates before training, every so many cycles and at the end; rewrites the report each time.

    Several ranks share an evaluation, so each of them has this hook; the first one writes. Between two cycles pictures
    are written and the report is drawn while training goes on.

    The test split is used twice: before training, as the baseline, and at the end. No choice rests on it.
    """

    def __init__(self, trainer: Trainer, data_module: DataModule, folder: WorkDir, progress: Progress):
        self.trainer, self.data_module, self.folder, self.progress = trainer, data_module, folder, progress
        self.config = trainer.config.evaluate
        self.trivial: Trivial = {}
        self.writes = distributed.is_main_process()
        self.background = Background()
        self.reader = ImageReader(data_module, trainer.device.type == "cuda")
        self._due: list[Callable[[], object]] = []

    def on_start(self, plan: Plan, step: int) -> None:
        """The untrained model, on every split that will be reported; or the evaluation that a run was stopped in."""
        visits: set[int] = set()
        if self.writes:
            shutil.rmtree(self.folder.spill, ignore_errors=True)  # of an evaluation that was killed
            self.folder.keep_metrics(self.trainer.visit)
            self.trivial = run_trivial(self.folder.root, self.data_module, self._note_passed_over)
            self._note_best()
            visits = self._evaluated_visits()
        self.trivial, visits = distributed.from_main((self.trivial, visits))
        if step == 0:
            self._evaluate_untrained()
            return
        for phase in plan.phases:
            if phase.closes_cycle and phase.end_step == step and phase.visit not in visits:
                self.on_cycle_end(phase)

    def _evaluate_untrained(self) -> None:
        """The untrained model, on as many images as the configuration says."""
        first = self.config.first
        if first == 0:
            self.progress.message("the untrained model is not evaluated (evaluate.first is 0)")
            self._is_report_due = self.writes
            return
        splits = tuple(dict.fromkeys((self.config.during, *self.config.final)))
        data_module = self.data_module if first is None else self.data_module.some(first)
        for split in splits:
            seen, there = (sum(data.sizes(split).values()) for data in (data_module, self.data_module))
            if seen < there:
                said = f"the untrained model is evaluated on {seen:,} of {there:,} images of {split.value}"
                self.progress.message(f"{said} (evaluate.first is {first:,})")
        self._evaluate({"student": self.trainer.model}, 0, splits, data_module=data_module)

    def on_phase(self, phase: Phase) -> None:
        """Begins to write what can wait of the last evaluation; the processes that read data have been started."""
        if self._due:
            self.background.start(self._write_due)

    def on_cycle_end(self, phase: Phase) -> None:
        """Every so many cycles; the last one is left to the end."""
        last = phase.end_step == self.trainer.plan.total_steps
        if self.config.every and phase.cycle % self.config.every == 0 and not last:
            self._evaluate(self._models(), phase.visit, (self.config.during,))

    def on_end(self, plan: Plan, finished: bool) -> None:
        """All splits that are reported, if training came to its end."""
        if self.writes:
            facts, now = self.folder.read_json("run.json", {}), datetime.datetime.now()
            self.folder.write_json("run.json", facts | {"finished": now.isoformat(timespec="seconds")})
        self._evaluate(self._models(), self.trainer.visit, self.config.final if finished else (), last=True)
        self.progress.message(f"report: {self.folder.report}")

    def _note_passed_over(self, passed: PassedOver) -> None:
        """Images without which a trivial answer was made: in the log, in the terminal and in the report."""
        names = tuple(one.file for one in passed.bad[:MOST_NAMED])
        key = passed.key
        self.trainer.report(Incident(self.trainer.step, "io", str(passed), key.dataset, key.task.value, names))

    def _evaluated_visits(self) -> set[int]:
        """Visits after which the split that is evaluated during training has been."""
        return {row.visit for row in self.folder.read_metrics() if row.split == self.config.during.value}

    def _models(self) -> dict[str, FoundationModel]:
        everyone = {"student": self.trainer.model, "teacher": self.trainer.teacher.model}
        return {name: everyone[name] for name in self.config.models}

    def _evaluate(
        self,
        models: dict[str, FoundationModel],
        visit: int,
        splits: tuple[Split, ...],
        last: bool = False,
        data_module: DataModule | None = None,
    ) -> None:
        """Metrics, pictures and report. A disk too full for a report ends the run only at the last one."""
        if self._starts_processes():
            self._finish_writing()
        thresholds: Thresholds = {}
        for split in sorted(splits, key=lambda split: split is not Split.VAL):  # thresholds are chosen on validation
            evaluation = evaluate(
                data_module or self.data_module,
                models,
                split,
                visit,
                functools.partial(self._show, split),
                thresholds=thresholds,
                spill=self.folder.spill,
                trivial=self.trivial,
                keep=last and self.config.predictions,
                reader=self.reader,
            )
            thresholds = evaluation.thresholds
            self._finish_writing()
            if self.writes:
                self._keep(evaluation, list(models)[-1], predictions=last and self.config.predictions)
                self._note_collapsed(evaluation.rows, list(models)[-1])
                if last and self.config.predictions:
                    self._keep_cases(evaluation, split, *list(models.items())[-1])
                self.trainer.call_hooks("on_evaluation", evaluation.rows, self.trainer.step)
                self.progress.table(f"after visit {visit}, {split.value}", *headline_table(evaluation.rows))
        self._finish_writing()
        if last:
            self.reader.close()
        if not self.writes:
            return
        self._due.append(lambda: write_report(self.folder.root))
        try:
            self._write_bad()
            if last:
                self._write_due()
        except DiskError as error:
            if last:
                raise
            self._note_full_disk(error)

    def _write_due(self) -> None:
        """Writes what can wait: pictures, then the report that shows them."""
        due, self._due = self._due, []
        for write in due:
            write()

    def _starts_processes(self) -> bool:
        """Whether the next evaluation starts processes that read images: none is forked while a thread writes."""
        keys = self.data_module.indices
        is_shared = all(key.task.facts.needs_annotations for key in keys)
        return self.data_module.config.runtime.workers > 0 and not (self.reader.has_workers and is_shared)

    def _finish_writing(self) -> None:
        """Waits for the checkpoint and for what is being written of the evaluation before.

        Called when the images have been looked at: until then no other rank waits for what the first one writes.
        """
        self.trainer.finish_saving()
        try:
            self.background.join()
        except DiskError as error:
            self._note_full_disk(error)

    def _note_full_disk(self, error: DiskError) -> None:
        message = f"{error.where}: {error.found}; training goes on, the next evaluation tries again"
        self.trainer.report(Incident(self.trainer.step, "io", message))

    def _note_best(self) -> None:
        """Writes ``best.json``; the checkpoints it names are not deleted."""
        rows = [row for row in self.folder.read_metrics() if row.split == self.config.during.value]
        for task, metric in self.config.best.items():
            known = {row.metric for row in rows if row.task == task.value}
            if known and metric not in known:
                found = f"{task.value} has no metric {metric!r} on {self.config.during.value}"
                raise ConfigError("evaluate.best", found, nearest(metric, known), "name one of these metrics")
        best = best_visits(rows, self.config.during, list(self.config.models)[-1], self.config.best)
        steps = {phase.visit: phase.end_step for phase in self.trainer.plan.phases}
        named = {str(key): asdict(row) | {"step": steps[row.visit]} for key, row in best.items()}
        self.folder.write_json("best.json", named)
        self.trainer.checkpoint_manager.best_steps = {row["step"] for row in named.values()}

    def _show(self, split: Split, key: TaskKey, done: int, total: int) -> None:
        self.progress.activity(f"evaluating {split.value}: {key} {done / total:.0%}")
        if done == total:
            self.progress.message(f"evaluated {key}")

    def _keep(self, evaluation: Evaluation, model: str, predictions: bool) -> None:
        """Rows and curves of the newest evaluation, and its predictions if they are requested; pictures can wait."""
        if predictions:
            store(self.folder.root, evaluation)
        else:
            self.folder.add_metrics(evaluation.rows)
        self._note_best()
        self.trainer.add_bad_samples(evaluation.bad)
        self.folder.write_json("curves.json", self.folder.read_json("curves.json", {}) | evaluation.curves)
        for key, examples in evaluation.examples.items():
            classes = self.data_module.classes[key]
            self._due.append(functools.partial(self.folder.write_examples, key, classes, model, examples))

    def _keep_cases(self, evaluation: Evaluation, split: Split, name: str, model: FoundationModel) -> None:
        """Pictures of the worst, median and best images and of clear mistakes; the headline metric of subgroups."""
        catalog, most = Catalog(), min(self.config.examples, each_of(len(evaluation.predictions)))
        rows = [row for row in self.folder.read_json("subgroups.json", []) if row["split"] != split.value]
        for predictions in evaluation.predictions:
            if predictions.model == name:
                key = predictions.key
                if examples := case_examples(self.data_module, model, predictions, most):
                    self._due.append(
                        functools.partial(self.folder.write_examples, key, predictions.classes, name, examples)
                    )
                found = scores(predictions, self._groups(predictions, catalog))
                head = {"dataset": key.dataset, "task": key.task.value, "model": name, "split": split.value}
                rows += [head | {"visit": predictions.visit} | asdict(entry) for entry in found]
        if rows:
            self.folder.write_json("subgroups.json", rows)

    def _groups(self, predictions: Predictions, catalog: Catalog) -> dict[str, AnyArray]:
        """Groups of a head's images by the attributes that its card names; none if their table cannot be read."""
        card = catalog.card(predictions.key.dataset)
        if card.attributes is None:
            return {}
        try:
            return groups_of(card, self.data_module.roots[card.name], predictions.images)
        except FoundationXError as error:
            message = f"no subgroups of {predictions.key}: {error.where} {error.found}"
            self.trainer.report(Incident(self.trainer.step, "io", message))
            return {}

    def _note_collapsed(self, rows: list[MetricRow], model: str) -> None:
        """Self-supervised heads whose features say nothing of an image."""
        for row in collapsed(rows, model):
            found = f"the {model}'s features of {row.n} images of {row.split} are nearly equal (spread {row.value:.3f})"
            advice = "let the teacher follow more slowly (teacher.momentum), or lower optimizer.lr"
            message = f"{found}: they have collapsed; {advice}"
            self.trainer.report(Incident(self.trainer.step, "collapse", message, row.dataset, row.task))

    def _write_bad(self) -> None:
        self.folder.write_json("bad_samples.json", [asdict(entry) for entry in self.trainer.bad.values()])
        images: dict[str, set[str]] = {}
        for key, table in self.data_module.annotations.items():
            images.setdefault(key.dataset, set()).update(table.images)
        write_quarantine(self.folder.root / "quarantine.csv", self.trainer.bad.values(), images)


def write_report(folder: Path) -> Path:
    """Draws the report of a work directory; matplotlib is not loaded before there is something to draw."""
    from foundationx.evaluation.report import write_report

    return write_report(folder)


class ExportAtEnd(Hook):
    """Exports the teacher's backbone when training has come to its end."""

    def __init__(self, trainer: Trainer, folder: WorkDir, progress: Progress):
        self.trainer, self.folder, self.progress = trainer, folder, progress

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Writes ``backbone_teacher.safetensors``."""
        if finished:
            path = self.folder.root / "backbone_teacher.safetensors"
            export_backbone(self.trainer.teacher.model, self.trainer.config, "teacher", path)
            self.progress.message(f"backbone: {path}")


def best_visits(
    rows: Iterable[MetricRow], split: Split, model: str, metrics: Mapping[Task, str] | None = None
) -> dict[TaskKey, MetricRow]:
    """The row of each head's best evaluation, mean over classes; the earlier of equal ones.

    The untrained model (visit 0) does not count. A head whose metric is never defined is left out.

    Args:
        rows: Rows of any evaluations.
        split: Split that the choice rests on.
        model: Name of the model.
        metrics: Metric that a task's choice rests on; its headline if not named.
    """
    best: dict[TaskKey, MetricRow] = {}
    values: dict[TaskKey, float] = {}
    downwards = lower_is_better()
    for row in sorted(rows, key=lambda row: row.visit):
        key = TaskKey(row.dataset, Task(row.task))
        metric = (metrics or {}).get(key.task, key.task.facts.headline)
        is_candidate = (row.metric, row.class_name, row.split, row.model) == (metric, MEAN, split.value, model)
        if is_candidate and row.visit and row.value is not None:
            merit = -row.value if metric in downwards else row.value
            if key not in values or merit > values[key]:
                best[key], values[key] = row, merit
    return best


def headline_table(rows: list[MetricRow]) -> tuple[list[str], list[list[str | Text]]]:
    """Columns and rows: head, metric, value of each model; one that is no better than a trivial value is marked."""
    answers = [name for name in (TRIVIAL, EMPTY) if any(row.model == name for row in rows)]
    models = [*dict.fromkeys(row.model for row in rows if row.model not in answers), *answers]
    table: dict[tuple[str, str], dict[str, float | None]] = {}
    for row in rows:
        if is_headline(row):
            table.setdefault((f"{row.dataset}/{row.task}", row.metric), {})[row.model] = row.value
    lines: list[list[str | Text]] = []
    for name, values in table.items():
        trivial = [values[answer] for answer in answers if answer in values]
        cells = [marked(values.get(model), trivial if model not in answers else [], metric=name[1]) for model in models]
        lines.append([*name, *cells])
    return ["head", "metric", *models], lines
