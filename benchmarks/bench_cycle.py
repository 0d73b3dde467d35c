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
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from image_files import KEY, write_images
from measuring import give_memory_back, heading, in_turns, options, table, times
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

Costs = dict[str, float]
"""Seconds by the released logic and by ours."""


class Ours:
    """Visits by the loop of a run; no checkpoint is written."""

    name = "foundationx"

    def __init__(self, world: World):
        self.world = world
        config = RunConfig(
            name="cycle",
            image_size=SIZE,
            model=CONFIG,
            datasets=[{"card": "dataset0"}],
            schedule={"cycles": 1},
            consistency={"only_if_better": False},
            teacher={"update": "phase"},
            optimizer={"clip_norm": CLIP, "warmup": 0.0},
            runtime={"checkpoint_minutes": None, "log_every": 1000},
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


class Released:
    """The released logic, in our own words.

    Args:
        world: Its student is trained.
        equal: Settings of ours: no activation checkpointing, a teacher without a graph.
    """

    name, equal_name = "as released", "at equal settings"

    def __init__(self, world: World, equal: bool = False):
        self.world, self.equal = world, equal
        for module in world.student.modules():
            if hasattr(module, "with_cp"):
                module.with_cp = not equal
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
    ours, plain = Ours(World(heads)), Released(World(heads))
    ways = {plain.name: plain, plain.equal_name: Released(World(heads), equal=True), ours.name: ours}
    rows, total = [], dict.fromkeys(ways, 0.0)
    visits: dict[Task, Costs] = {}
    for key in heads:
        things = {name: functools.partial(way.visit, batches[key]) for name, way in ways.items()}
        before = {name: functools.partial(way.prepare, batches[key]) for name, way in ways.items()}
        seconds = visits[key.task] = in_turns(things, runs, before=before)
        rows.append([key.task.value, *compared(seconds)])
        total = {name: total[name] + seconds[name] for name in total}
    table(columns("visit, training", "s"), [*rows, ["one of each", *compared(total)]])
    lists = in_turns({"lists": lambda: weights_as_lists(plain.world.student)}, 3)["lists"]
    millions = sum(parameter.numel() for parameter in plain.world.student.parameters()) / 1e6
    print(f"Weights as lists, twice per visit: {2 * lists:.1f} s for {millions:.0f} million parameters.\n")
    looks = {key.task: look(ours.world, key, runs) for key in heads}
    whole_cycle(visits, lists, looks, {side: reading(side, runs) for side in SIDES})


def columns(first: str, unit: str) -> list[str]:
    """Titles of a table of the three ways."""
    names = (Released.name, Released.equal_name, Ours.name)
    return [first, *(f"{name}, {unit}" for name in names), "times faster", "times faster at equal settings"]


def compared(seconds: Costs, unit: float = 1.0) -> list[str]:
    """Costs of the three ways in a unit of seconds, and how many times faster ours is than each of the others."""
    slow, equal, quick = (seconds[name] for name in (Released.name, Released.equal_name, Ours.name))
    ratios = [times(one, quick) if one and quick else "" for one in (slow, equal)]
    return [*(f"{value / unit:.2f}" for value in (slow, equal, quick)), *ratios]


def look(world: World, key: TaskKey, runs: int) -> dict[str, float]:
    """Seconds an image of one model's prediction, one image at a time in the released detection, else in a batch."""
    model = world.student.eval()
    images = world.normalise(draw_batch(key, LOOKED_AT).images)
    parts = images.split(1) if key.task is Task.DETECTION else [images]

    @torch.no_grad()
    def predict(batches: Sequence[Tensor]) -> None:
        for batch in batches:
            model.predict(batch, key)

    ways = {Released.name: lambda: predict(parts), Ours.name: lambda: predict([images])}
    return {name: seconds / LOOKED_AT for name, seconds in in_turns(ways, runs).items()}


def reading(side: int, runs: int) -> Costs:
    """Seconds per image at the training size: decoded from an image of ``side`` pixels, or read from the cache."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        annotations, view = write_images(folder, LOOKED_AT, side), ViewPipeline(SIZE)
        decoding = CardDataset(annotations, folder, view)
        cache = fill(Store(folder / "cache", SIZE), {KEY: decoding}, {KEY: np.arange(LOOKED_AT)}, 10**9)[KEY]
        datasets = {Released.name: decoding, Ours.name: CardDataset(annotations, folder, view, cache)}
        things = {
            name: lambda dataset=dataset: [dataset.sample(place, 0) for place in range(LOOKED_AT)]
            for name, dataset in datasets.items()
        }
        return {name: seconds / LOOKED_AT for name, seconds in in_turns(things, runs).items()}


def whole_cycle(visits: dict[Task, Costs], lists: float, looks: dict[Task, Costs], readings: dict[int, Costs]) -> None:
    """The parts of a cycle of published shape and their sums."""
    slow, equal, quick = names = (Released.name, Released.equal_name, Ours.name)
    visited = {task: images / (BATCH * STEPS[PhaseName.RELEASE]) for task, images in IMAGES.items()}
    tested = {task: 2 * TEST_SHARE * images for task, images in IMAGES.items()}
    once = {name: sum(tested[task] * looks[task][name] for task in IMAGES) for name in (slow, quick)}
    parts = {
        "training": {name: sum(visited[task] * visits[task][name] for task in IMAGES) for name in names},
        "weights as lists": {slow: 2 * VISITS * lists, equal: 0.0, quick: 0.0},
        "evaluation": {slow: VISITS * once[slow], equal: once[slow], quick: once[quick]},
    }
    looked_at = {slow: VISITS * sum(tested.values()), equal: sum(tested.values())}
    looked_at[quick] = sum(tested.values()) / 2  # both models
    trained_on = sum(images * (1 if task is Task.CLASSIFICATION else 1.5) for task, images in IMAGES.items())
    print_assumptions()
    hour = 3600.0
    rows = [[name, *compared(part, hour)] for name, part in parts.items()]
    learned = {name: sum(part[name] for part in parts.values()) for name in names}
    rows.append(["cycle without reading", *compared(learned, hour)])
    for side, seconds in readings.items():
        each = {slow: seconds[slow], equal: seconds[quick], quick: seconds[quick]}
        read = {name: each[name] * (trained_on + looked_at[name]) for name in names}
        rows.append([f"reading images of {side} x {side}", *compared(read, hour)])
        whole = {name: learned[name] + read[name] for name in names}
        rows.append([f"cycle, images of {side} x {side}", *compared(whole, hour)])
    table(columns("part", "h"), rows)


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
