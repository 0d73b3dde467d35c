"""The configuration of a run: every key, its type, its default and its meaning.

An unknown key or a wrong value is refused (``configfile.py`` reads the files).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from foundationx.core.config.model import ModelConfig, PlainDict, Section
from foundationx.core.types import Split, Task, all_tasks, annotated_tasks


class CurveConfig(Section):
    """A value that changes over training: from ``start`` to ``end`` along a curve of ``schedule/curves.py``."""

    type: Literal["linear", "cosine"]
    start: float
    end: float


Curve = float | CurveConfig


class DatasetConfig(Section):
    """One dataset of the cycle: a card of the registry and where its files are."""

    card: str
    root: str | None = Field(None, description="folder under the data root; the card's own where it is None")
    tasks: tuple[Task, ...] | None = Field(
        None,
        description="tasks to train; all of the card's where it is None. `self_supervision` wants the images alone",
    )
    limit: int | None = Field(None, gt=0, description="use at most this many images of each split")
    options: dict[Task, PlainDict] = Field(
        default_factory=dict,
        description="of a task's reader, over the card's: {'classification': {'uncertain': 'ones'}}",
    )


class SplitConfig(Section):
    """Patient-wise split of datasets without an official one."""

    train: float = Field(0.7, gt=0, le=1)
    val: float = Field(0.15, ge=0, lt=1)
    test: float = Field(0.15, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitConfig:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, not 1")
        return self

    def fractions(self) -> dict[Split, float]:
        """Share of the patients on each side."""
        return {Split.TRAIN: self.train, Split.VAL: self.val, Split.TEST: self.test}


class ViewConfig(Section):
    """What student and teacher see in training.

    ``teacher``: ``same`` (Foundation X: one view for both), ``clean`` (Ark: the same geometry without photometry) or
    ``whole`` (Ark+: the whole image resized; classification only).
    """

    geometry: PlainDict = Field(default_factory=dict)
    photometry: PlainDict = Field(default_factory=dict)
    teacher: Literal["same", "clean", "whole"] = "clean"


def _views_of_all(views: dict[Task, ViewConfig]) -> dict[Task, ViewConfig]:
    """Views of every task that is learned from annotations, in the order of tasks."""
    if others := [task.value for task in views if not task.facts.needs_annotations]:
        raise ValueError(f"{', '.join(others)} has no views of its own: its objective asks for them")
    return {task: views.get(task, ViewConfig()) for task in annotated_tasks()}


def _lock_of_all(shares: dict[Task, float]) -> dict[Task, float]:
    return {task: shares.get(task, task.facts.lock_share) for task in all_tasks()}


def _release_of_all(shares: dict[Task, float]) -> dict[Task, float]:
    return {task: shares.get(task, task.facts.release_share) for task in all_tasks()}


Share = Annotated[float, Field(ge=0)]
"""Share of the training images; 1 is one full pass."""


class ReuseConfig(Section):
    """Features below a lock phase's head, computed once and used several times (``anchors.md`` section 2.7).

    A lock phase then reads fewer images: each batch, as it was augmented once, is used ``uses`` times. The phase goes
    through its batches in blocks: round after round over as many batches as ``memory_gb`` holds.
    """

    uses: int = Field(4, ge=2, description="steps that share one reading of a batch")
    memory_gb: float = Field(
        2.0, gt=0, description="most that kept features may take, over all processes, in 1e9 bytes"
    )


class ScheduleConfig(Section):
    """Cycle over datasets with Lock-Release (``foundation_x.md`` section 2).

    ``order``: ``fixed`` (that of ``datasets``), ``shuffled`` (datasets in a new order each cycle, drawn from
    ``runtime.seed``), ``temperature`` (a pass of a head is long in proportion to its size ** (1 / temperature), a cycle
    keeps its length) or ``capped`` (a pass has at most ``cap`` images).
    """

    type: str = "cyclic"
    cycles: int = Field(ge=1)
    order: Literal["fixed", "shuffled", "temperature", "capped"] = "fixed"
    temperature: float = Field(1.0, ge=1, description="1: in proportion to size; very large: all heads alike")
    cap: int | None = Field(None, gt=0, description="images of a pass at most, for order `capped`")
    lock: Annotated[dict[Task, Share], AfterValidator(_lock_of_all)] = Field(
        default_factory=dict,
        validate_default=True,
        description="share of a pass in lock phases, by task; each task has a default of its own",
    )
    release: Annotated[dict[Task, Share], AfterValidator(_release_of_all)] = Field(
        default_factory=dict,
        validate_default=True,
        description="share of a pass in release phases, by task; each task has a default of its own",
    )
    max_steps: int | None = Field(None, gt=0, description="cap on the steps of a phase")
    reuse: ReuseConfig | None = Field(None, description="features that lock phases use again; None: none are kept")

    @model_validator(mode="after")
    def _every_task_is_trained(self) -> ScheduleConfig:
        for task in annotated_tasks():
            if self.lock[task] + self.release[task] == 0:
                raise ValueError(f"lock and release of {task.value} are both 0: its visits would be empty")
        return self

    @model_validator(mode="after")
    def _order_has_what_it_needs(self) -> ScheduleConfig:
        if (self.order == "capped") != (self.cap is not None):
            raise ValueError(f"order is {self.order!r} and cap is {self.cap}: `capped` and `cap` go together")
        if self.order != "temperature" and self.temperature != 1:
            raise ValueError(f"order is {self.order!r}: a temperature belongs to the order `temperature`")
        return self


class TeacherConfig(Section):
    """EMA teacher: m * teacher + (1 - m) * student, over parameters and buffers."""

    momentum: Curve = 0.8
    update: Literal["phase", "visit", "cycle", "step"] = "phase"

    @field_validator("momentum")
    @classmethod
    def _in_range(cls, value: Curve) -> Curve:
        for momentum in [value] if isinstance(value, float) else [value.start, value.end]:
            if not 0 <= momentum <= 1:
                raise ValueError(f"momentum {momentum:g} is not in [0, 1]")
        return value


class ConsistencyConfig(Section):
    """Weight c of the consistency loss: (1 - c) * task + c * consistency."""

    weight: Curve = 0.5


class OptimizerConfig(Section):
    """One optimizer for all tasks; one learning-rate schedule over all steps: linear warm-up, then a curve."""

    type: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    betas: tuple[float, float] = Field((0.9, 0.999), description="of AdamW")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD, with Nesterov's step")
    lr_scale: dict[str, float] = Field(
        default_factory=dict,
        description="factor by group (backbone, projector, neck, encoder, decoder, head) or group.task",
    )
    decay_norms_and_biases: bool = False
    sharded: bool = Field(False, description="each process keeps its share of the optimizer's state (ZeRO, stage 1)")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of all steps")
    curve: CurveConfig = CurveConfig(type="cosine", start=1.0, end=0.0)
    every_cycle: bool = Field(
        False, description="the rate changes at the start of a cycle only (released Foundation X)"
    )
    clip_norm: float | None = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added up before a step")


class EvaluateConfig(Section):
    """When and on what the heads are evaluated. Test is opened once, at the end (and before training, as baseline)."""

    every: int = Field(1, ge=0, description="cycles between evaluations; 0: only before and after training")
    during: Split = Split.VAL
    final: tuple[Split, ...] = (Split.VAL, Split.TEST)
    models: tuple[Literal["student", "teacher"], ...] = ("student", "teacher")
    examples: int = Field(8, ge=0, description="images a head kept for the report")
    predictions: bool = Field(True, description="keep the last evaluation's predictions of every image, for intervals")


class RuntimeConfig(Section):
    """How the run is carried out; nothing here changes what is learned, except batch size, seed and precision.

    ``compile`` changes rounding, and with ``inductor`` the random numbers of dropout and drop path.
    """

    batch_size: int = Field(8, gt=0, description="images of a step, over all processes")
    eval_batch_size: int = Field(16, gt=0)
    workers: int = Field(1, ge=0)
    cache: Path | None = Field(None, description="folder that keeps decoded images")
    cache_gb: float = Field(200.0, gt=0, description="most that the cache may hold; what does not fit is decoded")
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: Literal["inductor", "aot_eager", "eager"] | None = Field(
        None, description="torch.compile's backend for backbone and trunks in training; inductor is the quick one"
    )
    device: str = "auto"
    seed: int = 0
    log_every: int = Field(10, gt=0)
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept, beside the best of every head")
    checkpoint_every: int | None = Field(None, gt=0, description="steps between checkpoints inside a cycle")
    checkpoint_minutes: float | None = Field(10.0, gt=0, description="minutes between checkpoints inside a cycle")
    bad_steps: int = Field(3, gt=0, description="steps in a row without a finite loss and gradient that end the run")
    tensorboard: bool = False
    on_bad_sample: Literal["raise", "skip"] = "raise"


class FederationConfig(Section):
    """Simulated federated training (``ark.md`` section 5): who holds which datasets. A cycle is a round."""

    clients: tuple[tuple[str, ...], ...] = Field(min_length=1, description="cards of each client, each card once")


class RunConfig(Section):
    """Everything a run needs to know."""

    name: str
    image_size: int = Field(224, gt=0, multiple_of=32)
    model: ModelConfig
    datasets: tuple[DatasetConfig, ...] = Field(min_length=1)
    schedule: ScheduleConfig
    federation: FederationConfig | None = None
    split: SplitConfig = SplitConfig()
    exclude: Path | None = Field(None, description="list of training images to leave out (`foundationx data audit`)")
    allow_test: tuple[str, ...] = Field((), description="datasets whose test side the others may train on")
    views: Annotated[dict[Task, ViewConfig], AfterValidator(_views_of_all)] = Field(
        default_factory=dict, validate_default=True, description="views of each task"
    )
    teacher: TeacherConfig = TeacherConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _each_card_once(self) -> RunConfig:
        cards = [dataset.card for dataset in self.datasets]
        twice = sorted({card for card in cards if cards.count(card) > 1})
        if twice:
            raise ValueError(f"datasets lists {', '.join(twice)} more than once")
        for task in {task for dataset in self.datasets for task in dataset.tasks or ()}:
            if not task.facts.needs_annotations:
                self._check_without_annotations(task)
        if others := sorted(set(self.allow_test) - set(cards)):
            raise ValueError(f"allow_test names {', '.join(others)}, which datasets does not list")
        return self

    @model_validator(mode="after")
    def _clients_hold_every_dataset_once(self) -> RunConfig:
        if (self.schedule.type == "federated") != (self.federation is not None):
            raise ValueError("`federation` and schedule.type='federated' go together")
        if self.federation is None:
            return self
        held = [card for client in self.federation.clients for card in client]
        if sorted(held) != sorted(dataset.card for dataset in self.datasets) or not all(self.federation.clients):
            raise ValueError(f"federation.clients hold {', '.join(held)}: every dataset has to be held by one client")
        if self.optimizer.sharded:
            raise ValueError("optimizer.sharded: every client has an optimizer of its own, which cannot be shared out")
        return self

    def _check_without_annotations(self, task: Task) -> None:
        if self.model.objective is None:
            raise ValueError(f"{task.value} stands among the tasks of a dataset, but model.objective is not set")
        if self.schedule.lock[task] + self.schedule.release[task] == 0:
            raise ValueError(f"schedule.release.{task.value} is 0: its visits would be empty; set it to 1.0")
