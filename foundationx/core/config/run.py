"""The configuration of a run: every key, its type, its default and its meaning.

An unknown key or a wrong value is refused (``load.py`` reads the files).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Doc

from foundationx.core.config.model import ModelConfig, PlainDict, Section
from foundationx.core.config.views import ViewConfig
from foundationx.core.types import Split, Task, TaskKey, all_tasks, annotated_tasks


class CurveConfig(Section):
    """A value that changes over training, from ``start`` to ``end``."""

    type: Literal["linear", "cosine"] = Field(description="shape of the curve")
    start: float = Field(description="value at the start of training")
    end: float = Field(description="value at the end of training")


Curve = float | CurveConfig


Unit = Annotated[float, Field(ge=0, le=1)]


class UnitCurveConfig(CurveConfig):
    """A value in [0, 1] that changes over training."""

    start: Unit = Field(description="value at the start of training")
    end: Unit = Field(description="value at the end of training")


def _in_unit_range(value: Curve | None) -> Curve | None:
    """The number or curve, if all of it is in [0, 1], or None. A curve runs between its ends."""
    if value is None:
        return None
    for one in [value] if isinstance(value, float) else [value.start, value.end]:
        if not 0 <= one <= 1:
            raise ValueError(f"{one:g} is not in [0, 1]")
    return value


UnitCurve = Annotated[float | UnitCurveConfig, AfterValidator(_in_unit_range), Doc("in [0, 1]")]
"""A number in [0, 1], or a curve within it."""

OptionalUnitCurve = Annotated[float | UnitCurveConfig | None, AfterValidator(_in_unit_range), Doc("in [0, 1]")]
"""The same, or null."""

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Seed of random numbers."""

Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a moment."""

Factor = Annotated[float, Field(ge=0, le=1000)]
"""Factor on a learning rate."""

LONGEST_NAME = 128
"""Most characters in the name of a run: folders are named after it."""


def _plain_name(name: str) -> str:
    """The name, if a folder can be called by it: no separators, no control characters, not empty."""
    if name.strip(" .") == "" or len(name) > LONGEST_NAME or any(c in "/\\" or not c.isprintable() for c in name):
        raise ValueError(f"{name!r:.200} is no plain file name of 1 to {LONGEST_NAME} characters without separators")
    return name


Name = Annotated[str, AfterValidator(_plain_name), Doc("that a folder can be called by, up to 128 characters")]


class LearningRateCurve(CurveConfig):
    """Factor on the learning rate, which is not negative."""

    start: Factor = Field(description="value at the start of training")
    end: Factor = Field(description="value at the end of training")


class DatasetConfig(Section):
    """One dataset of the cycle: a card of the registry and the folder of its files."""

    card: str = Field(description="name of the card")
    root: str | None = Field(None, description="folder under the data root; null: the one that the card names")
    tasks: tuple[Task, ...] | None = Field(
        None,
        description="tasks to train; null: all of the card. `self_supervision` needs images only",
    )
    limit: int | None = Field(None, gt=0, le=1_000_000_000, description="use at most this many images of each split")
    options: dict[Task, PlainDict] = Field(
        default_factory=dict,
        description="options of a task's reader that replace the card's: {'classification': {'uncertain': 'ones'}}; "
        "file, images, image_suffix and image_path name other files of a copy",
    )


class SplitConfig(Section):
    """Patient-wise split of datasets without an official one: a function of the seed and the patient alone."""

    train: float = Field(0.7, gt=0, le=1, description="share of the patients to train on, on average")
    val: float = Field(0.15, ge=0, lt=1, description="share of the patients to validate on")
    test: float = Field(0.15, ge=0, lt=1, description="share of the patients to test on")
    seed: Seed = Field(0, description="seed of the split")
    file: Path | None = Field(
        None,
        description="list of one's own: a table with the columns split and patient or image, or JSON as splits.json; "
        "under the data root or the working directory. Who is not in it is split as without it",
    )
    record: Path | None = Field(
        None,
        description="work directory of an earlier run, or its splits.json: its patients keep their split. "
        "model.init_run implies that of its run",
    )
    changes: Literal["refuse", "keep", "apply"] = Field(
        "refuse",
        description="patients whose split is another one than in the run that is continued, because an official list "
        "has joined or this section has changed. refuse: an error counts them; keep: they stay where that run had "
        "them; apply: they change",
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitConfig:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, not 1")
        return self

    def fractions(self) -> dict[Split, float]:
        """Share of the patients in each split."""
        return {Split.TRAIN: self.train, Split.VAL: self.val, Split.TEST: self.test}


def _views_of_all(views: dict[Task, ViewConfig]) -> dict[Task, ViewConfig]:
    """Views of every task that is learned from annotations, in the order of tasks."""
    if others := [task.value for task in views if not task.facts.needs_annotations]:
        raise ValueError(f"{', '.join(others)} has no views of its own: its objective asks for them")
    return {task: views.get(task, ViewConfig()) for task in annotated_tasks()}


def _lock_of_all(shares: dict[Task, float]) -> dict[Task, float]:
    return {task: shares.get(task, task.facts.lock_share) for task in all_tasks()}


def _release_of_all(shares: dict[Task, float]) -> dict[Task, float]:
    return {task: shares.get(task, task.facts.release_share) for task in all_tasks()}


Share = Annotated[float, Field(ge=0, le=1000)]
"""Share of the training images; 1 is one full pass."""


class ReuseConfig(Section):
    """Features below a lock phase's head, computed once and used several times.

    A lock phase then reads fewer images: each batch, as it was augmented once, is used ``uses`` times. The phase goes
    through its batches in blocks: round after round over as many batches as ``memory_gb`` holds.
    """

    uses: int = Field(4, ge=2, le=1000, description="steps that share one reading of a batch")
    memory_gb: float = Field(
        2.0, gt=0, le=1e6, description="most memory for cached features, over all processes, in 1e9 bytes"
    )


class ScheduleConfig(Section):
    """Cycle over datasets with Lock-Release (Foundation X)."""

    type: str = Field("cyclic", description="name of a schedule (`foundationx list schedules`)")
    cycles: int = Field(ge=1, le=1_000_000, description="cycles over all datasets")
    order: Literal["fixed", "shuffled", "temperature", "capped"] = Field(
        "fixed",
        description="fixed: the order of `datasets`; shuffled: a new order each cycle, drawn from runtime.seed; "
        "temperature: a pass of a head is proportional to its size ** (1 / temperature), the cycle keeps its length; "
        "capped: a pass has at most `cap` images",
    )
    temperature: float = Field(1.0, ge=1, le=1e12, description="1: in proportion to size; very large: all heads alike")
    cap: int | None = Field(None, gt=0, le=1_000_000_000, description="most images of a pass, for order `capped`")
    balance: Literal["none", "labels"] = Field(
        "none",
        description="which images of a dataset a pass draws: none: every one; labels: images with a class as often as "
        "images without it, so that where an image comes from does not tell what it shows",
    )
    lock: Annotated[dict[Task, Share], AfterValidator(_lock_of_all)] = Field(
        default_factory=dict,
        validate_default=True,
        description="share of a pass in lock phases (only the head is trained), by task; each task has its own default",
    )
    release: Annotated[dict[Task, Share], AfterValidator(_release_of_all)] = Field(
        default_factory=dict,
        validate_default=True,
        description="share of a pass in release phases (all that the task uses is trained), by task; likewise",
    )
    lock_until: Unit = Field(
        0.25,
        description="share of the training in which lock phases take place; later their steps are release steps",
    )
    floor: Unit = Field(
        1.0,
        description="steps by need: share of the steps which its task needs at least (`foundationx plan` names them) "
        "that every head gets, at the expense of the others; if a run is too short for all needs, they share its steps "
        "in proportion to need. 0: by size alone. Not with order `capped`",
    )
    steps: dict[str, Annotated[int, Field(gt=0, le=1_000_000_000)]] = Field(
        default_factory=dict,
        description="steps of a head (dataset/task) in the whole run, spread evenly over the cycles, instead of those "
        "by its size and need",
    )
    turns: int = Field(
        16,
        ge=1,
        le=1_000_000,
        description="turns that the heads take in a cycle, in which each has its share of its steps; 1: each has all "
        "of them in one visit. For schedule `cyclic`",
    )
    max_steps: int | None = Field(None, gt=0, le=1_000_000_000, description="most steps of a phase; null: no limit")
    reuse: ReuseConfig | None = Field(
        None, description="features that lock phases use several times; null: none are cached"
    )

    @model_validator(mode="after")
    def _every_task_is_trained(self) -> ScheduleConfig:
        for task in annotated_tasks():
            if self.lock[task] + self.release[task] == 0:
                raise ValueError(f"lock and release of {task.value} are both 0: its visits would be empty")
        return self

    @model_validator(mode="after")
    def _steps_name_heads(self) -> ScheduleConfig:
        for name in self.steps:
            try:
                TaskKey.parse(name)
            except ValueError as error:
                raise ValueError(f"steps names {name!r}, which is no head such as 'dataset/classification'") from error
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

    momentum: OptionalUnitCurve = Field(
        None,
        description="m: a number in [0, 1], or a curve over training. null: updated every step, m = 1 - 1 / W, the "
        "mean over about the last W steps, 5 % of the run's; at step t at most (1 + t) / (10 + t). Updated less often, "
        "m = 0.8",
    )
    update: Literal["phase", "visit", "cycle", "step"] = Field("step", description="after what the teacher is updated")


class ConsistencyConfig(Section):
    """Weight c of the consistency loss: (1 - c) * task + c * consistency."""

    weight: UnitCurve = Field(
        0.0, description="c: a number in [0, 1], or a curve over training. 0: the teacher only follows"
    )
    only_if_better: bool = Field(
        True,
        description="a head follows the teacher in a cycle only if the teacher's task loss is below the student's: "
        "compared on the first batch of the head that would be tied, both without dropout",
    )


class FillingConfig(Section):
    """Teacher fills the unknown: its heads answer for classes that a dataset does not annotate.

    In a release phase the student's heads of the other datasets learn from the phase's images, too, with what the
    teacher's heads are sure of in place of annotations.
    """

    weight: UnitCurve = Field(
        UnitCurveConfig(type="linear", start=0.0, end=0.5),
        description="weight of the filled loss beside the loss of annotations: a number in [0, 1], or a ramp",
    )
    precision: float = Field(
        0.9,
        ge=0.5,
        le=1,
        description="share of the teacher's answers on validation that have to be right from a class's limit on; a "
        "class that does not reach it is not filled",
    )
    from_cycle: int = Field(2, ge=1, le=1_000_000, description="first cycle in which anything is filled")
    tasks: tuple[Task, ...] | None = Field(None, description="tasks whose heads are filled; null: all that can be")
    examples: int = Field(4, ge=0, le=1000, description="filled images per head in the report")


class OptimizerConfig(Section):
    """One optimizer for all tasks; one learning-rate schedule over all steps: linear warm-up, then a curve."""

    type: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with Nesterov momentum")
    lr: float = Field(1e-4, gt=0, le=1e38, description="peak learning rate")
    weight_decay: float = Field(1e-4, ge=0, le=1000, description="decoupled weight decay")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="decay rates of AdamW's moments")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    lr_scale: dict[str, Factor] = Field(
        default_factory=dict,
        description="factor on the learning rate by group (backbone, projector, neck, encoder, decoder, head) "
        "or group.task",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on the learning rate per block of the backbone, from the last one down; 1: one rate",
    )
    decay_norms_and_biases: bool = Field(False, description="weight decay on normalisation layers and biases too")
    fused: bool | None = Field(
        None,
        description="the step of all parameters in one kernel, which rounds otherwise; about three times as fast on a "
        "CPU. null: on CUDA only",
    )
    sharded: bool = Field(False, description="each process keeps its share of the optimizer's state (ZeRO, stage 1)")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of all steps for linear warm-up")
    curve: LearningRateCurve = Field(
        LearningRateCurve(type="cosine", start=1.0, end=0.0), description="factor on the learning rate after warm-up"
    )
    every_cycle: bool = Field(
        False, description="the rate changes at the start of a cycle only (released Foundation X)"
    )
    clip_norm: float | None = Field(1.0, gt=0, le=1e38, description="largest norm of the gradient; null: not clipped")
    accumulate: int = Field(1, ge=1, le=1_000_000, description="batches whose gradients are accumulated before a step")


class EvaluateConfig(Section):
    """When and on what the heads are evaluated. Test is used once, at the end (and before training, as baseline)."""

    every: int = Field(
        1, ge=0, le=1_000_000, description="cycles between evaluations; 0: only before and after training"
    )
    first: int | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="images of each head and split, evenly spaced, on which the untrained model is evaluated at most; "
        "0: it is not evaluated; null: on all",
    )
    during: Split = Field(Split.VAL, description="split that is evaluated during training")
    final: tuple[Split, ...] = Field((Split.VAL, Split.TEST), description="splits that are evaluated at the end")
    models: tuple[Literal["student", "teacher"], ...] = Field(
        ("student", "teacher"), description="models that are evaluated"
    )
    best: dict[Task, str] = Field(
        default_factory=dict, description="metric that chooses each task's best checkpoint; by default its headline"
    )
    examples: int = Field(24, ge=0, le=10_000, description="images per head in the report")
    predictions: bool = Field(True, description="keep the last evaluation's predictions of every image, for intervals")


class CudaConfig(Section):
    """How CUDA computes; elsewhere nothing here has an effect."""

    tf32: bool = Field(
        True,
        description="float32 products of matrices and convolutions in TF32: 10 bits of mantissa, several times faster",
    )
    cudnn_benchmark: bool = Field(
        False,
        description="cuDNN tries its convolutions once for every shape and keeps the fastest; two runs may then round "
        "differently",
    )


class RuntimeConfig(Section):
    """How the run is carried out; nothing here changes what is learned, except batch size, seed and precision.

    ``compile`` changes rounding, and with ``inductor`` the random numbers of dropout and drop path.
    """

    batch_size: int = Field(8, gt=0, le=1_000_000, description="images per step, over all processes")
    eval_batch_size: int = Field(16, gt=0, le=1_000_000, description="images per batch of evaluation")
    workers: int = Field(1, ge=0, le=256, description="worker processes that read images; 0: the main process reads")
    cache: Path | None = Field(None, description="folder for decoded images; null: they are decoded each time")
    cache_gb: float = Field(
        200.0, gt=0, le=1e6, description="most that the cache may hold, in 1e9 bytes; what does not fit is decoded"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="precision of training; auto: bf16 on a GPU that computes in it, else fp32"
    )
    gradients: Literal["fp32", "bf16"] = Field(
        "fp32", description="in which precision several processes send gradients to each other"
    )
    compile: Literal["inductor", "aot_eager", "eager"] | None = Field(
        None, description="backend of torch.compile in training; inductor is the fastest; null: not compiled"
    )
    cuda: CudaConfig = Field(CudaConfig(), description="how CUDA computes")
    device: str = Field("auto", description="device of torch, such as cpu or cuda:0; auto: a GPU if there is one")
    seed: Seed = Field(0, description="seed of everything random but the split")
    log_every: int = Field(10, gt=0, le=1_000_000_000, description="steps between rows of log.jsonl")
    keep_checkpoints: int = Field(
        2, ge=1, le=1_000_000, description="newest checkpoints to keep, beside the best of every head"
    )
    checkpoint_every: int | None = Field(
        None, gt=0, le=1_000_000_000, description="steps between checkpoints within a cycle"
    )
    checkpoint_minutes: float | None = Field(
        10.0, gt=0, le=1e6, description="minutes between checkpoints within a cycle"
    )
    bad_steps: int = Field(
        3, gt=0, le=1_000_000_000, description="consecutive steps with a non-finite loss or gradient that end the run"
    )
    trackers: tuple[str, ...] = Field(
        (),
        description="trackers that follow the run: tensorboard, mlflow, wandb, trackio (`foundationx list trackers`)",
    )
    on_bad_sample: Literal["raise", "skip"] = Field(
        "raise", description="what to do about an image that cannot be used: end with an error, or leave it out"
    )


class FederationConfig(Section):
    """Simulated federated training (Ark+): who holds which datasets. A cycle is a round."""

    clients: tuple[tuple[str, ...], ...] = Field(min_length=1, description="cards of each client, each card once")


class RunConfig(Section):
    """Everything a run needs to know."""

    name: Name = Field(description="name of the run; its work directory is work_dirs/NAME unless given")
    image_size: int = Field(
        224, gt=0, le=4096, multiple_of=32, description="height and width of the network's input, in pixels"
    )
    model: ModelConfig = Field(description="the network")
    datasets: tuple[DatasetConfig, ...] = Field(min_length=1, description="datasets of the cycle, in order")
    schedule: ScheduleConfig = Field(description="what is trained when")
    federation: FederationConfig | None = Field(
        None, description="clients of the schedule `federated`; null: none, as for every other schedule"
    )
    split: SplitConfig = Field(SplitConfig(), description="split of datasets without an official one")
    exclude: Path | None = Field(None, description="list of training images to leave out (`foundationx data audit`)")
    allow_test: tuple[str, ...] = Field((), description="datasets whose test split the others may train on")
    views: Annotated[dict[Task, ViewConfig], AfterValidator(_views_of_all)] = Field(
        default_factory=dict, validate_default=True, description="what student and teacher see in training, by task"
    )
    teacher: TeacherConfig = Field(TeacherConfig(), description="the EMA teacher")
    consistency: ConsistencyConfig = Field(ConsistencyConfig(), description="the consistency loss")
    filling: FillingConfig | None = Field(
        None, description="the teacher fills what datasets do not annotate; null: unknown stays unknown"
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="optimizer and learning-rate schedule")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="when and on what the heads are evaluated")
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="how the run is carried out")

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
        if self.filling is not None:
            raise ValueError("filling: a client has no heads of the others that could answer for its images")
        if self.optimizer.sharded:
            raise ValueError("optimizer.sharded: every client has an optimizer of its own, which cannot be shared out")
        return self

    def _check_without_annotations(self, task: Task) -> None:
        if self.model.objective is None:
            raise ValueError(f"{task.value} stands among the tasks of a dataset, but model.objective is not set")
        if self.schedule.lock[task] + self.schedule.release[task] == 0:
            raise ValueError(f"schedule.release.{task.value} is 0: its visits would be empty; set it to 1.0")
