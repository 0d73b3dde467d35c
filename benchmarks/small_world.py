"""A small Foundation X with any number of datasets, and random batches for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch, PhaseName, SampleMeta, Task, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.step import training_losses
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import head_group, lock, task_groups
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.segmentation.target import SegmentationBatch

SIZE, CLASSES, OBJECTS = 128, 5, 3
CONFIG = ModelConfig(
    backbone={
        "type": "mmdet.PublishedSwin",
        "embed_dims": 48,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "window_size": 7,
        "out_indices": (0, 1, 2, 3),
    },
    detection={
        "embed_dims": 128,
        "ffn_dims": 512,
        "encoder_layers": 3,
        "decoder_layers": 3,
        "queries": 300,
        "denoising": 20,
    },
    segmentation={"channels": 64},
)
DESCRIPTION = (
    f"Half-width Swin-T, DINO of 3 + 3 layers with 300 queries, UPerNet, {SIZE} x {SIZE} pixels, {CLASSES} classes."
)


TASKS = (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)
"""The tasks that benchmarks compare with others' code."""


def keys(datasets: int, tasks: Sequence[Task] = TASKS) -> list[TaskKey]:
    """Heads of so many datasets."""
    return [TaskKey(f"dataset{number}", task) for number in range(datasets) for task in tasks]


def build(heads: Sequence[TaskKey]) -> FoundationModel:
    """A seeded model with these heads."""
    torch.manual_seed(0)
    return FoundationModel(CONFIG, {key: [f"class {number}" for number in range(CLASSES)] for key in heads})


def draw_batch(key: TaskKey, images: int = 2) -> Batch:
    """A random batch with all that its task needs."""
    torch.manual_seed(1)
    pixels = torch.randint(256, (images, 1, SIZE, SIZE), dtype=torch.uint8)
    metas = tuple(SampleMeta(key, str(place), str(place), "", SIZE, SIZE) for place in range(images))
    common = (key, pixels, pixels, torch.randint(2, (images, CLASSES)).float(), metas)
    if key.task is Task.DETECTION:
        boxes = torch.rand(images, OBJECTS, 4) * 0.3 + 0.2
        return DetectionBatch(*common, centred_boxes=boxes, box_classes=torch.randint(CLASSES, (images, OBJECTS)))
    if key.task is Task.SEGMENTATION:
        return SegmentationBatch(*common, masks=torch.randint(2, (images, CLASSES, SIZE, SIZE), dtype=torch.uint8))
    return Batch(*common)


def phase_of(key: TaskKey, name: PhaseName) -> Phase:
    """A lock phase trains the head alone, a release phase everything with the teacher beside it."""
    locked = name is PhaseName.LOCK
    scopes = (head_group(key),) if locked else task_groups(key, CONFIG)
    return Phase(name, key, 1, 1, 0, 1, scopes, 0.0 if locked else 0.5, None, False, False)


class World:
    """Student, teacher and what a step needs; on CUDA they compute in bf16."""

    def __init__(self, heads: Sequence[TaskKey], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.student = build(heads).to(device)
        self.teacher = Teacher(self.student)
        self.normalise = Normaliser(CONFIG, device)

    def step(self, phase: Phase, batch: Batch) -> None:
        """Losses and gradients, as the loop takes them."""
        with lock(self.student, phase.trainable):
            self.loss(phase, batch).backward()

    def loss(self, phase: Phase, batch: Batch, trunk_output: Any = None) -> torch.Tensor:
        """The loss of a locked model; ``trunk_output`` of the batch where it is known."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return training_losses(self.student, self.teacher, self.normalise, batch, phase, trunk_output).loss
