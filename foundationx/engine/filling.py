"""The teacher fills the unknown: its heads answer for classes that the visited dataset does not annotate.

In label transfer and pseudo-label detection, too, one dataset's model annotates another one's images. Here the EMA
teacher does so while it learns: a class is filled if the teacher's score passes a limit, chosen on the validation
images of the head's own dataset at the start of every cycle, and only if nothing is known of the class. What is known
follows from the cards: the concept of a class, its relation and polarity (``datasets/known.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundationx.core import distributed
from foundationx.core.config.run import FillingConfig
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Annotations, Batch, Example, Split, StepOutput, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import AGAIN, in_order, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.known import known_labels_of, says_something
from foundationx.engine.schedule.curves import build_curve
from foundationx.engine.schedule.plan import Phase
from foundationx.models.compile import is_compiled
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import head_owner
from foundationx.tasks.definition import task_of
from foundationx.tasks.fill import Evidence, FillRules, Limits, choose_limits


@dataclass(frozen=True)
class Fillable:
    """One head that can answer for the images of a dataset.

    Attributes:
        key: The head.
        known: (N, K) labels of the head's classes that the dataset gives, by image: NaN where the teacher may answer;
            None if the dataset says nothing of any class.
        rows: Row of each image.
    """

    key: TaskKey
    known: np.ndarray | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    def open_classes(self, batch: Batch, classes: int) -> Tensor:
        """(B, K) bool, the classes of which nothing is known in each image."""
        shape = (len(batch), classes)
        if self.known is None:
            return torch.ones(shape, dtype=torch.bool, device=batch.images.device)
        chosen = np.isnan(self.known[[self.rows[meta.image] for meta in batch.metas]])
        return torch.from_numpy(chosen).to(batch.images.device)


class Filling:
    """What the teacher fills, how much of it, and examples.

    Args:
        config: How to fill.
        data_module: Datasets of the run.
        model: The student, which has the heads.
        catalog: Cards, which give the meaning of classes.

    Attributes:
        fillable: Heads that answer for the images of each head's visits.
        limits: Limits of each head; empty until the first cycle that fills.
        cycle: Cycle in which the limits were chosen; 0 before.
        counts: By visited dataset and head (K, 3): labels, boxes or masks that were filled as present and as absent,
            and images that were left unknown, by class; of all ranks' images.
    """

    def __init__(
        self, config: FillingConfig, data_module: DataModule, model: FoundationModel, catalog: Catalog | None = None
    ):
        self.config, self.data_module, self.classes = config, data_module, model.classes
        self.weight = build_curve(config.weight)
        self.device = next(model.parameters()).device
        self.normalise = Normaliser(data_module.config.model, self.device)
        self.fillable = fillable_heads(data_module, config.tasks, catalog or Catalog())
        self.limits: dict[TaskKey, Limits] = {}
        self.cycle = 0
        self.counts: dict[tuple[str, TaskKey], Tensor] = {}
        self.examples: dict[TaskKey, list[Example]] = {}

    def begin_phase(self, phase: Phase, teacher: Teacher) -> None:
        """Chooses the limits anew if a cycle begins."""
        if phase.cycle != self.cycle and phase.cycle >= self.config.from_cycle:
            teacher.flush()
            self.limits = {key: self._choose(key, teacher.model) for key in self._heads()}
            self.cycle = phase.cycle
            self.examples.clear()

    def _heads(self) -> list[TaskKey]:
        return list(dict.fromkeys(entry.key for entries in self.fillable.values() for entry in entries))

    @torch.no_grad()
    def _choose(self, key: TaskKey, model: FoundationModel) -> Limits:
        """Limits of one head, from the validation images of its dataset; of all that share the head."""
        config = self.data_module.config
        owner, size = head_owner(key, config.model), config.runtime.eval_batch_size
        keys = [other for other in self.data_module.annotations if head_owner(other, config.model) == owner]
        batches = [b for k in keys for b in in_order(k, self.data_module.indices[k][Split.VAL], size)]
        parts = []
        loader = make_loader(self.data_module.evaluation(Split.VAL), batches, config.runtime.workers, pin_memory=False)
        for item in read_all(loader, "limits of filling", AGAIN) if batches else ():
            batch = usable(item, config.runtime.on_bad_sample)
            prediction = model.predict(self.normalise(batch.images.to(self.device)), key)
            parts.append(_rules(key.task).evidence(map_tensors(prediction, Tensor.cpu), batch))
        number = len(self.classes[key])
        if not parts:
            return Limits(np.full(number, np.inf), np.zeros(number))
        return choose_limits(Evidence.joined(parts), number, self.config.precision)

    def add(
        self, output: StepOutput, student: FoundationModel, teacher: Teacher, batch: Batch, phase: Phase, done: float
    ) -> StepOutput:
        """The losses of a step with those of the filled heads.

        Args:
            output: Losses of the annotations.
            student: Model that is trained.
            teacher: Answers.
            batch: Batch on the model's device.
            phase: Phase of the step.
            done: Share of all steps that are done.
        """
        entries = [entry for entry in self.fillable.get(batch.key, ()) if entry.key in self.limits]
        weight = self.weight(done)
        if phase.is_head_only or not entries or weight == 0:
            return output
        teacher.flush()
        losses = []
        for task in dict.fromkeys(entry.key.task for entry in entries):
            of_task = [entry for entry in entries if entry.key.task is task]
            losses += self._of_task(task, of_task, student, teacher.model, batch)
        added = torch.stack(losses).mean()
        loss = output.loss + weight * added
        return StepOutput(loss, output.parts | {"filled": added.detach(), "total": loss.detach()})

    def _of_task(
        self, task: Task, entries: Sequence[Fillable], student: FoundationModel, teacher: FoundationModel, batch: Batch
    ) -> list[Tensor]:
        """Loss of each head of a task; the trunk is run once. Boxes and masks are those of the student's own view."""
        own = self.normalise(batch.images)
        seen = own if task.facts.has_targets else self.normalise(batch.teacher_images)
        with torch.no_grad():
            keys = [entry.key for entry in entries]
            if is_compiled(teacher.backbone):
                answers = {key: teacher.predict(seen, key) for key in keys}
            else:
                answers = teacher.predict_all(seen, keys)
        trunk_output = student.trunk(own, entries[0].key)
        losses = []
        for entry in entries:
            answer = answers[entry.key]
            open_ = entry.open_classes(batch, len(self.classes[entry.key]))
            filled, count = _rules(task).filled(answer, batch, entry.key, self.limits[entry.key], open_)
            self._count(batch, entry.key, filled, count, open_)
            self._show(entry.key, answer, filled, count)
            parts = student.head_loss(trunk_output, filled)
            losses.append(torch.stack([part.float() for part in parts.values()]).sum())
        return losses

    def _count(self, batch: Batch, key: TaskKey, filled: Batch, count: Tensor, open_: Tensor) -> None:
        absent = (filled.labels == 0) & (count == 0)
        unknown = open_ & (count == 0) & ~absent
        present = count if key.task.facts.part == "boxes" else count > 0
        own = torch.stack([part.sum(dim=0) for part in (present.long(), absent, unknown)], dim=1)
        (new,) = distributed.all_reduce_sum(own)
        place = (batch.key.dataset, key)
        self.counts[place] = self.counts[place].to(new.device) + new if place in self.counts else new

    def _show(self, key: TaskKey, answer: Any, filled: Batch, count: Tensor) -> None:
        """Stores images in which something was found, a few per head and cycle."""
        shown = self.examples.setdefault(key, [])
        if len(shown) >= self.config.examples:
            return
        chosen = torch.nonzero((count > 0).any(dim=1)).flatten().tolist()[: self.config.examples - len(shown)]
        if chosen:
            on_host, batch = (map_tensors(part, lambda tensor: tensor.detach().cpu()) for part in (answer, filled))
            shown += [task_of(key.task).example(on_host, batch, index) for index in chosen]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs, so that a resumed run fills as if it had not been interrupted."""
        counts = [[dataset, str(key), count.tolist()] for (dataset, key), count in self.counts.items()]
        limits = {str(key): limits.as_json() for key, limits in self.limits.items()}
        return {"cycle": self.cycle, "limits": limits, "counts": counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over :meth:`state`. Raises errors of many kinds: it is not one."""
        self.cycle = int(state["cycle"])
        self.limits = {TaskKey.parse(key): Limits.parse(limits) for key, limits in state["limits"].items()}
        self.counts = {(str(d), TaskKey.parse(key)): torch.tensor(count) for d, key, count in state["counts"]}

    def as_json(self) -> dict[str, Any]:
        """Limits and counts as ``filled.json`` has them."""
        rows = [
            {
                "dataset": dataset,
                "head": str(key),
                "class": name,
                "present": row[0],
                "absent": row[1],
                "unknown": row[2],
            }
            for (dataset, key), count in self.counts.items()
            for name, row in zip(self.classes[key], count.tolist(), strict=True)
        ]
        limits = [
            {"head": str(key), "class": name, "present": present, "absent": absent}
            for key, of_head in self.limits.items()
            for name, present, absent in zip(self.classes[key], *of_head.as_json().values(), strict=True)
        ]
        return {"cycle": self.cycle, "precision": self.config.precision, "limits": limits, "rows": rows}


def _rules(task: Task) -> FillRules:
    """The rules of a task whose heads can be filled."""
    rules = task_of(task).fill_rules()
    assert rules is not None, "only heads of tasks with rules are fillable"
    return rules


def fillable_heads(
    data_module: DataModule, tasks: Sequence[Task] | None, catalog: Catalog
) -> dict[TaskKey, list[Fillable]]:
    """By visited head: the heads whose classes its dataset does not annotate, wholly or in some images.

    Args:
        data_module: Datasets of the run.
        tasks: Tasks whose heads are filled; None for all that can be.
        catalog: Cards.
    """
    heads = [key for key in data_module.annotations if task_of(key.task).fill_rules() is not None]
    asked = [key for key in heads if tasks is None or key.task in tasks]
    found: dict[TaskKey, list[Fillable]] = {}
    for visited in heads:
        owners: set[TaskKey] = set()
        for key in sorted(asked, key=lambda key: key != visited):  # a head that datasets share answers once
            owner = head_owner(key, data_module.config.model)
            if owner not in owners:
                entry = _fillable(data_module, visited, key, catalog)
                if entry is not None and (entry.known is None or np.isnan(entry.known).any()):
                    found.setdefault(visited, []).append(entry)
                owners.add(owner)
    return found


def _fillable(data_module: DataModule, visited: TaskKey, key: TaskKey, catalog: Catalog) -> Fillable | None:
    """What the visited dataset says of a head's classes.

    Its own head answers only for classes of a head that datasets share which this one never annotates: labels that it
    leaves open in single images stay unknown.
    """
    own = data_module.annotations[visited]
    rows = {image: row for row, image in enumerate(own.images)}
    if key == visited:
        annotated = ~np.isnan(own.labels).all(axis=0)
        known = np.where(annotated, 0.0, np.full((len(own), 1), np.nan)).astype(np.float32)
        return Fillable(key, known, rows) if head_owner(key, data_module.config.model) != key else None
    tables = [(k, table) for k, table in data_module.annotations.items() if k.dataset == visited.dataset]
    sources: list[tuple[Annotations, list[ClassSpec]]] = [(t, specs_of(k, t.classes, catalog)) for k, t in tables]
    wanted = specs_of(key, data_module.classes[key], catalog)
    columns = [
        known_labels_of(spec, sources, own.images, catalog.vocabulary)
        if any(says_something(spec, other, catalog.vocabulary) for _, specs in sources for other in specs)
        else None
        for spec in wanted
    ]
    if key.dataset == visited.dataset:
        columns = _with_own_table(columns, data_module.annotations[key], own.images)
    if all(column is None for column in columns):
        return Fillable(key)
    nothing = np.full(len(own), np.nan, dtype=np.float32)
    return Fillable(key, np.stack([nothing if column is None else column for column in columns], axis=1), rows)


def _with_own_table(columns: Sequence[Any], table: Annotations, images: Sequence[str]) -> list[Any]:
    """Columns of known labels, with those that the head's own table gives for the same images."""
    row_of = {image: row for row, image in enumerate(table.images)}
    rows = np.array([row_of.get(image, -1) for image in images], dtype=np.int64)
    labels = np.where(rows[:, None] >= 0, table.labels[rows], np.nan).astype(np.float32)
    return [
        label if column is None else np.where(np.isnan(label), column, label)
        for column, label in zip(columns, labels.T, strict=True)
    ]


def specs_of(key: TaskKey, classes: Sequence[str], catalog: Catalog) -> list[ClassSpec]:
    """What each class of a head means; a class that the card does not name means nothing to others."""
    task = catalog.card(key.dataset).tasks.get(key.task)
    by_name = {spec.name: spec for spec in task.classes} if task is not None else {}
    return [by_name.get(name, ClassSpec(name=name)) for name in classes]
