"""One cycle of Foundation X by the released step logic, written out plainly, against ours on the same network.

What the released code does besides learning (``docs/methods/foundation_x.md``, "6 Cost of the released loop") is done
here too: a deep copy of the whole model and a forward pass of it in each step of detection; a teacher that builds
graphs, which the backward pass runs through, in lock phases as well; matching layer by layer; four optimizer groups.
Before and after each visit it turns the weights into Python lists, to see what has changed, and after each visit it
evaluates both models on all test sets, detection one image at a time; ours evaluates once a cycle
(``evaluate.every``). It computes the backbone's blocks twice (activation checkpointing, on in all its configurations),
and decodes full-size files whenever an image is looked at; ours does the former where it is asked to, and reads from
``runtime.cache``.

At equal settings the same logic computes blocks once, runs the teacher without a graph, makes no lists, evaluates once
a cycle and reads from the cache. Ours is the loop of a run (``engine/trainer.py``) as it is, guards and all.

Steps, lists, predictions and readings are measured; a cycle of published shape is their sum, as the last table says.

    python benchmarks/bench_cycle.py [--runs 5]
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_files import KEY, write_images
from measuring import Operations, each_in_turn, give_memory_back, heading, in_turns, options, paired, table, times
from small_world import CONFIG, DESCRIPTION, SIZE, World, draw_batch, keys, phase_of
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.run import RunConfig
from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import Batch, PhaseName, Task, TaskKey
from foundationx.data.cache.fill import fill
from foundationx.data.cache.store import Store
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.engine.schedule.plan import Plan
from foundationx.engine.trainer import Trainer
from foundationx.models.consistency import consistency_point
from foundationx.models.parameter_groups import lock, lr_groups
from foundationx.models.swin import WindowMSA

STEPS = {PhaseName.LOCK: 1, PhaseName.RELEASE: 2}
MOMENTUM, CLIP = 0.8, 0.1
VISITS = 20
IMAGES = {Task.CLASSIFICATION: 743_275, Task.DETECTION: 60_126, Task.SEGMENTATION: 28_053}
"""Of a published cycle: visits, and training images of each task. A release phase sees them once."""

TEST_SHARE = 62 / 831
"""Test images to training images of the published datasets; taken for every task."""

BATCH, LOOKED_AT = 2, 4
"""Images of a measured step, and of a measured prediction."""

SIDES = (1024, 2500)
"""Pixels a side of published files: NIH ChestX-ray14's, and about those of MIMIC-CXR and CheXpert (most of a cycle)."""

OURS, QUICK_NAME = "foundationx", "foundationx, bf16"
QUICKER: dict[str, Any] = {"runtime": {"precision": "bf16"}, "optimizer": {"fused": True}}
QUICKER_SAYS = (
    "ours with `runtime.precision` bf16 and `optimizer.fused`, as the demo trains; the released code has neither"
)
"""Settings that ours has beside those of the comparison; they round otherwise."""

OFTEN = {Task.CLASSIFICATION: 3}
"""Times as many runs, for tasks whose ways lie close together."""

Costs = dict[str, float]
"""Seconds by way."""


class Ours:
    """Visits by the loop of a run; no checkpoint is written.

    Args:
        world: Its student is trained.
        quicker: Settings beside those of the comparison.
    """

    def __init__(self, world: World, quicker: dict[str, Any] | None = None):
        self.world, self.name = world, QUICK_NAME if quicker else OURS
        quicker = quicker or {}
        config = RunConfig(
            name="cycle",
            image_size=SIZE,
            model=CONFIG,
            datasets=[{"card": "dataset0"}],
            schedule={"cycles": 1},
            consistency={"only_if_better": False},
            teacher={"update": "phase"},
            optimizer={"clip_norm": CLIP, "warmup": 0.0, **quicker.get("optimizer", {})},
            runtime={"checkpoint_minutes": None, "log_every": 1000, **quicker.get("runtime", {})},
        )
        folder = Path(tempfile.gettempdir())  # nothing is written there
        whole = dataclasses.replace(phase_of(keys(1)[0], PhaseName.RELEASE), steps=1_000_000)
        self.trainer = Trainer(config, world.student, Plan((whole,)), lambda step: (), folder)

    def prepare(self, batch: Batch) -> None:
        """The process keeps the memory that it frees, as in a run, and has come to have it."""
        keep_freed_memory()
        self.visit(batch)

    def visit(self, batch: Batch) -> None:
        """Lock, then release."""
        for name, steps in STEPS.items():
            if batch.key.task is Task.CLASSIFICATION and name is PhaseName.LOCK:
                continue
            phase = dataclasses.replace(phase_of(batch.key, name), steps=steps, momentum=MOMENTUM)
            self.trainer.step = 0
            self.trainer._run_phase(phase, itertools.repeat(batch))


class TheirWindows(WindowMSA):
    """Attention inside windows as mmdet and the released code compute it; ours gives the same bits."""

    forward = importlib.import_module("mmdet.models.backbones.swin").WindowMSA.forward


class Released:
    """The released logic, in our own words, on mmdet's network.

    Args:
        world: Its student is trained.
        equal: Settings of ours: no activation checkpointing, a teacher without a graph.
    """

    name, equal_name = "as released", "at equal settings"

    def __init__(self, world: World, equal: bool = False):
        self.world, self.equal = world, equal
        self.name = self.equal_name if equal else Released.name
        for module in list(world.student.modules()):
            if hasattr(module, "with_cp"):
                module.with_cp = not equal
            if type(getattr(module, "w_msa", None)) is WindowMSA:
                module.w_msa = TheirWindows(module.w_msa)
        self.teacher = copy.deepcopy(world.student).eval()  # its parameters keep requires_grad
        self.optimizer = torch.optim.AdamW(released_groups(world.student), weight_decay=1e-4)

    def prepare(self, batch: Batch) -> None:
        """The allocator is left alone."""
        give_memory_back()

    def visit(self, batch: Batch) -> None:
        """Lock, then release; the teacher follows."""
        for name, steps in STEPS.items():
            if batch.key.task is Task.CLASSIFICATION and name is PhaseName.LOCK:
                continue
            with lock(self.world.student, phase_of(batch.key, name).trainable):
                for _ in range(steps):
                    self.step(batch)
            for own, followed in zip(self.teacher.parameters(), self.world.student.parameters(), strict=True):
                own.data.mul_(MOMENTUM).add_(followed.data, alpha=1 - MOMENTUM)

    def step(self, batch: Batch) -> None:
        """Losses, gradients, update; the consistency point of detection is that of a copy."""
        student, images = self.world.student, self.world.normalise(batch.images)
        output = student.trunk(images, batch.key)
        compared = output
        if batch.key.task is Task.DETECTION:
            duplicate = copy.deepcopy(student).eval()
            compared = duplicate.trunk(images, batch.key)
            duplicate.head(batch.key)(
                compared, duplicate.trunks[batch.key.task.value]
            )  # decoder states are compared too
        with torch.set_grad_enabled(not self.equal):
            target = self.teacher.trunk(images, batch.key)
            if batch.key.task is Task.DETECTION:
                self.teacher.head(batch.key)(target, self.teacher.trunks[batch.key.task.value])
        if batch.key.task is Task.DETECTION:
            task = self.layer_by_layer(output, batch)
        else:
            task = torch.stack(list(student.head_loss(output, batch).values())).sum()
        consistency = F.mse_loss(consistency_point(compared), consistency_point(target))  # not detached
        (0.5 * task + 0.5 * consistency).backward()
        update(self.optimizer)

    def layer_by_layer(self, output, batch: Batch) -> Tensor:
        """The same losses, each layer matched on its own: one wait a layer."""
        head = self.world.student.head(batch.key)
        result = head(output, self.world.student.trunks[batch.key.task.value], batch)
        whole = head.loss(dataclasses.replace(result, logits=result.logits[:1], boxes=result.boxes[:1]), batch)
        for layer in range(1, len(result.logits)):
            part = slice(layer, layer + 1)
            alone = dataclasses.replace(result, logits=result.logits[part], boxes=result.boxes[part], denoising=None)
            whole |= {f"{name} {layer}": value for name, value in head.loss(alone, batch).items()}
        return torch.stack(list(whole.values())).sum()


NAMES = (Released.name, Released.equal_name, OURS, QUICK_NAME)
"""The four ways, in the order of columns."""


def released_groups(model: nn.Module) -> list[dict]:
    """The four groups of the released optimizer: backbone and classification heads, segmentation, encoder, the rest."""
    groups: list[list[nn.Parameter]] = [[], [], [], []]
    names = lr_groups(model)
    for name, parameter in model.named_parameters():
        group, task = names[name]
        if group == "backbone" or task == Task.CLASSIFICATION.value:
            number = 0
        elif task == Task.SEGMENTATION.value:
            number = 1
        else:
            number = 2 if group == "encoder" else 3
        groups[number].append(parameter)
    return [{"params": own, "lr": rate} for own, rate in zip(groups, (1e-5, 1e-4, 1e-4, 1e-4), strict=True)]


def weights_as_lists(model: nn.Module) -> dict[str, list]:
    """Every weight as a Python number."""
    return {name: parameter.detach().tolist() for name, parameter in model.named_parameters()}


def update(optimizer: torch.optim.Optimizer) -> None:
    """Clips and steps."""
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    nn.utils.clip_grad_norm_(trained, CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def main() -> None:
    runs = options(__doc__, runs=5).runs
    steps = f"{STEPS[PhaseName.LOCK]} lock and {STEPS[PhaseName.RELEASE]} release steps per visit with two images"
    heading(
        "One cycle, by the released step logic and by ours", f"{DESCRIPTION} {steps}; classification is not locked."
    )
    heads = keys(1)
    batches = {key: draw_batch(key) for key in heads}
    ways = [Released(World(heads)), Released(World(heads), equal=True), Ours(World(heads)), Ours(World(heads), QUICKER)]
    measured = {key.task: visit_times(ways, batches[key], runs * OFTEN.get(key.task, 1)) for key in heads}
    visits = {
        task: {name: statistics.median(own) for name, own in seconds.items()} for task, seconds in measured.items()
    }
    rows = [[task.value, *compared(visits[task], measured[task])] for task in measured]
    total = {way.name: sum(own[way.name] for own in visits.values()) for way in ways}
    table(columns("visit, training", "s"), [*rows, ["one of each", *compared(total)]])
    print(f"A ratio of a visit is the median over runs of the ratio within a run. The last column: {QUICKER_SAYS}.\n")
    counts(ways, batches)
    lists = in_turns({"lists": lambda: weights_as_lists(ways[0].world.student)}, 3)["lists"]
    millions = sum(parameter.numel() for parameter in ways[0].world.student.parameters()) / 1e6
    print(f"Weights as lists, twice per visit: {2 * lists:.1f} s for {millions:.0f} million parameters.\n")
    looks = {key.task: look(ways[2].world, key, runs) for key in heads}
    whole_cycle(visits, lists, looks, {side: reading(side, runs) for side in SIDES})


def visit_times(ways: Sequence[Released | Ours], batch: Batch, runs: int) -> dict[str, list[float]]:
    """Seconds of a visit in each run, by way."""
    things = {way.name: functools.partial(way.visit, batch) for way in ways}
    return each_in_turn(things, runs, before={way.name: functools.partial(way.prepare, batch) for way in ways})


def counts(ways: Sequence[Released | Ours], batches: dict[TaskKey, Batch]) -> None:
    """Arithmetic and operations of a visit, which do not depend on the machine."""
    rows = []
    for key, batch in batches.items():
        arithmetic, operations = [], []
        for way in ways[:3]:
            with Operations() as asked:
                way.visit(batch)
            arithmetic.append(f"{asked.flop / 1e9:.1f}")
            operations.append(f"{asked.count:,}")
        rows.append([key.task.value, *arithmetic, *operations])
    names = [way.name for way in ways[:3]]
    table(["visit", *(f"{name}, {what}" for what in ("GFLOP", "operations") for name in names)], rows)


def columns(first: str, unit: str) -> list[str]:
    """Titles of a table of the four ways."""
    ratios = ("times faster", f"times faster {Released.equal_name}", "times faster, bf16")
    return [first, *(f"{name}, {unit}" for name in NAMES), *ratios]


def compared(seconds: Costs, each: dict[str, list[float]] | None = None, unit: float = 1.0) -> list[str]:
    """Costs of the four ways in a unit of seconds, and how many times faster ours is than the others.

    Args:
        seconds: Costs by way.
        each: Those of every run; None: ratios are those of ``seconds``.
        unit: Seconds that are written as 1.
    """
    slow, equal, ours, quick = NAMES
    ratios = []
    for one, other in ((slow, ours), (equal, ours), (slow, quick)):
        known = seconds[one] and seconds[other]
        ratio = paired(each[one], each[other]) if each else seconds[one] / seconds[other] if known else 0.0
        ratios.append(times(ratio, 1.0) if known else "")
    return [*(f"{seconds[name] / unit:.2f}" for name in NAMES), *ratios]


def look(world: World, key: TaskKey, runs: int) -> dict[str, float]:
    """Seconds an image of one model's prediction, one image at a time in the released detection, else in a batch."""
    model = world.student.eval()
    images = world.normalise(draw_batch(key, LOOKED_AT).images)
    parts = images.split(1) if key.task is Task.DETECTION else [images]

    @torch.no_grad()
    def predict(batches: Sequence[Tensor]) -> None:
        for batch in batches:
            model.predict(batch, key)

    ways = {Released.name: lambda: predict(parts), OURS: lambda: predict([images])}
    return {name: seconds / LOOKED_AT for name, seconds in in_turns(ways, runs).items()}


def reading(side: int, runs: int) -> Costs:
    """Seconds per image at the training size: decoded from an image of ``side`` pixels, or read from the cache."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        annotations, view = write_images(folder, LOOKED_AT, side), ViewPipeline(SIZE)
        decoding = CardDataset(annotations, folder, view)
        cache = fill(Store(folder / "cache", SIZE), {KEY: decoding}, {KEY: np.arange(LOOKED_AT)}, 10**9)[KEY]
        datasets = {Released.name: decoding, OURS: CardDataset(annotations, folder, view, cache)}
        things = {
            name: lambda dataset=dataset: [dataset.sample(place, 0) for place in range(LOOKED_AT)]
            for name, dataset in datasets.items()
        }
        return {name: seconds / LOOKED_AT for name, seconds in in_turns(things, runs).items()}


def whole_cycle(visits: dict[Task, Costs], lists: float, looks: dict[Task, Costs], readings: dict[int, Costs]) -> None:
    """The parts of a cycle of published shape and their sums."""
    slow, equal, ours, quick = NAMES
    visited = {task: images / (BATCH * STEPS[PhaseName.RELEASE]) for task, images in IMAGES.items()}
    tested = {task: 2 * TEST_SHARE * images for task, images in IMAGES.items()}
    once = {name: sum(tested[task] * looks[task][name] for task in IMAGES) for name in (slow, ours)}
    parts = {
        f"training, {task.value}": {name: visited[task] * visits[task][name] for name in NAMES} for task in IMAGES
    } | {
        "weights as lists": {slow: 2 * VISITS * lists, equal: 0.0, ours: 0.0, quick: 0.0},
        "evaluation": {slow: VISITS * once[slow], equal: once[slow], ours: once[ours], quick: once[ours]},
    }
    looked_at = {slow: VISITS * sum(tested.values()), equal: sum(tested.values())}
    looked_at[ours] = looked_at[quick] = sum(tested.values()) / 2  # both models
    trained_on = sum(images * (1 if task is Task.CLASSIFICATION else 1.5) for task, images in IMAGES.items())
    print_assumptions()
    hour = 3600.0
    rows = [[name, *compared(part, unit=hour)] for name, part in parts.items()]
    learned = {name: sum(part[name] for part in parts.values()) for name in NAMES}
    rows.append(["cycle without reading", *compared(learned, unit=hour)])
    for side, seconds in readings.items():
        each = {slow: seconds[slow], equal: seconds[ours], ours: seconds[ours], quick: seconds[ours]}
        read = {name: each[name] * (trained_on + looked_at[name]) for name in NAMES}
        rows.append([f"reading images of {side} x {side}", *compared(read, unit=hour)])
        whole = {name: learned[name] + read[name] for name in NAMES}
        rows.append([f"cycle, images of {side} x {side}", *compared(whole, unit=hour)])
    table(columns("part", "h"), rows)
    _what_is_left_out(parts, learned)


def _what_is_left_out(parts: dict[str, Costs], learned: Costs) -> None:
    """What ours leaves out of the released cycle without reading, and what of it both have to do."""
    slow, equal, ours, quick = NAMES
    training = {
        name: sum(part[name] for title, part in parts.items() if title.startswith("training")) for name in NAMES
    }
    left_out = {
        "backbones computed twice, the teacher's graph": training[slow] - training[equal],
        "the copy of the model and matching layer by layer (detection), the loop": training[equal] - training[ours],
        "evaluation after every visit instead of every cycle": parts["evaluation"][slow] - parts["evaluation"][equal],
        "evaluation image by image": parts["evaluation"][equal] - parts["evaluation"][ours],
        "weights as lists": parts["weights as lists"][slow],
        "left: what ours does too": learned[ours],
    }
    rows = [[name, f"{hours / 3600:.2f}", f"{hours / learned[slow]:.0%}"] for name, hours in left_out.items()]
    table(["part of the released cycle without reading", "h", "share"], rows)
    hours = {name: seconds / 3600 for name, seconds in training.items()}
    print(
        f"A fifth of the released cycle without reading is {learned[slow] / 5 / 3600:.0f} h. Its training steps alone "
        f"take {hours[equal]:.0f} h at equal settings, ours {hours[ours]:.0f} h, in bf16 {hours[quick]:.0f} h.\n"
    )


def print_assumptions() -> None:
    """Prints the assumptions of the sums."""
    seen = ", ".join(f"{images:,} of {task.value}" for task, images in IMAGES.items())
    print(
        f"A cycle of {VISITS} visits and the published numbers of images ({seen}), summed from the measured parts. "
        f"Lock phases see half as many; test images are {TEST_SHARE:.1%} as many, for every task. The released logic "
        "evaluates both models on every head after each visit, ours once per cycle (default). Evaluation covers the "
        "network, without metrics. The released logic decodes the file at every use of an image; ours reads the cache "
        "(`runtime.cache`), once for both models, and files were decoded before the first cycle. At equal settings the "
        "released logic computes blocks once, runs the teacher without a graph, makes no lists, evaluates once per "
        "cycle and reads from the cache. Workers that decode beside a GPU hide this time if there are enough cores. "
        "The ratio depends on these numbers: the more test images and the larger the images, the greater the ratio.\n"
    )


if __name__ == "__main__":
    main()
