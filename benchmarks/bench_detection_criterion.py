"""Detection's criterion for the whole batch at once against mmdet's own, image by image: operations, waits, time.

Both get the same proposals, six decoder layers and denoising queries, and must give the same loss before they are
timed. Runs alternate in one process on one thread. Prints a markdown table.

    python benchmarks/bench_detection_criterion.py [--runs 7] [--batches 2 8 24]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from foundationx.core import openmmlab
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.denoising import DenoisingQueries, make_denoising
from foundationx.tasks.detection.matching import Targets, matched_losses, set_losses

LAYERS, QUERIES, CLASSES, DENOISING, SIDE = 7, 900, 13, 100, 224
OBJECTS = (1, 3, 0, 2, 6, 4)
"""Boxes of the images, in turn."""


class Waits(TorchFunctionMode):
    """Counts copies to the host that are asked for by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += getattr(function, "__name__", "") in ("cpu", "tolist")
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts dispatched operations, and those among them whose result the host must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.split(".")[0]
        self.count += 1
        self.waits += name in ("_local_scalar_dense", "nonzero", "_unique2", "masked_select")
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], (list, tuple)):
            self.waits += any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
        return function(*args, **(kwargs or {}))


@dataclass
class Case:
    """Predictions of a batch, denoising queries in front: logits (L, B, R + Q, K), boxes (L, B, R + Q, 4)."""

    logits: Tensor
    boxes: Tensor
    targets: Targets
    denoising: DenoisingQueries

    @property
    def front(self) -> int:
        """R, the number of denoising queries."""
        return self.denoising.boxes.shape[1]


def draw_boxes(*shape: int) -> Tensor:
    size = torch.rand(*shape, 2) * 0.35 + 0.05
    return torch.cat([size / 2 + torch.rand(*shape, 2) * (1 - size), size], dim=-1)


def draw_case(batch: int) -> Case:
    torch.manual_seed(batch)
    counts = torch.tensor([OBJECTS[image % len(OBJECTS)] for image in range(batch)])
    real = torch.arange(int(counts.max()))[None] < counts[:, None]
    classes = torch.randint(CLASSES, real.shape).masked_fill(~real, -1)
    known = torch.ones(batch, CLASSES, dtype=torch.bool)
    targets = Targets(draw_boxes(*real.shape) * real[..., None], classes, known)
    denoising = make_denoising(targets, nn.Embedding(CLASSES, 4), DENOISING, 0.5, 1.0, QUERIES)
    total = denoising.boxes.shape[1] + QUERIES
    logits = torch.randn(LAYERS, batch, total, CLASSES) - 4
    return Case(logits.requires_grad_(), draw_boxes(LAYERS, batch, total).requires_grad_(), targets, denoising)


def batched_loss(case: Case) -> Tensor:
    """What the detection head does."""
    front, denoising = case.front, case.denoising
    total = set_losses(case.logits[:, :, front:], case.boxes[:, :, front:], case.targets).sum()
    matched = denoising.matched.expand(LAYERS - 1, -1, -1)
    layers = case.logits[1:, :, :front], case.boxes[1:, :, :front]
    return total + matched_losses(*layers, denoising.repeated, matched).sum()


def mmdet_head() -> nn.Module:
    costs = [
        {"type": "FocalLossCost", "weight": 2.0},
        {"type": "BBoxL1Cost", "weight": 5.0, "box_format": "xywh"},
        {"type": "IoUCost", "iou_mode": "giou", "weight": 2.0},
    ]
    return openmmlab.build_mm(
        {
            "type": "mmdet.DINOHead",
            "num_classes": CLASSES,
            "sync_cls_avg_factor": True,
            "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 5.0},
            "loss_iou": {"type": "GIoULoss", "loss_weight": 2.0},
            "train_cfg": {"assigner": {"type": "HungarianAssigner", "match_costs": costs}},
            "num_pred_layer": LAYERS,
            "as_two_stage": True,
        }
    )


def per_image_loss(head: nn.Module, case: Case) -> Tensor:
    """mmdet's DINOHead as installed: every image of every layer on its own."""
    from mmengine.structures import InstanceData

    targets, front = case.targets, case.front
    truth = []
    for boxes, classes in zip(targets.boxes, targets.classes, strict=True):
        real = classes >= 0
        truth.append(InstanceData(bboxes=to_corners(boxes[real]) * SIDE, labels=classes[real]))
    meta = {"num_denoising_queries": front, "num_denoising_groups": front // (2 * targets.classes.shape[1])}
    proposals = case.logits[0, :, front:], case.boxes[0, :, front:]
    metas = [{"img_shape": (SIDE, SIDE)}] * len(truth)
    return sum(head.loss_by_feat(case.logits[1:], case.boxes[1:], *proposals, truth, metas, meta).values()).squeeze()


@dataclass
class Figures:
    """Of one criterion at one batch size: operations forward and in all, waits, median seconds forward and in all."""

    loss: Tensor
    operations: tuple[int, int]
    waits: int
    seconds: list[tuple[float, float]]

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of the loss, and with its gradients."""
        forward, both = zip(*self.seconds, strict=True)
        return statistics.median(forward), statistics.median(both)


def count(criterion: Callable[[Case], Tensor], case: Case) -> Figures:
    with Waits() as asked, Operations() as operations:
        loss = criterion(case)
        forward, waits = operations.count, operations.waits + asked.count
        torch.autograd.grad(loss, (case.logits, case.boxes))
    return Figures(loss.detach(), (forward, operations.count), waits, [])


def time_once(criterion: Callable[[Case], Tensor], case: Case) -> tuple[float, float]:
    start = time.perf_counter()
    loss = criterion(case)
    forward = time.perf_counter() - start
    torch.autograd.grad(loss, (case.logits, case.boxes))
    return forward, time.perf_counter() - start


def row(batch: str, name: str, figures: Figures, other: Figures) -> str:
    forward, both = figures.medians
    cells = [batch, name, f"{figures.operations[0]:,}", f"{figures.operations[1]:,}", str(figures.waits)]
    cells += [f"{forward * 1000:.0f}", f"{both * 1000:.0f}", f"{other.medians[1] / both:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each criterion")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 8, 24])
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = mmdet_head()
    criteria = {"mmdet, image by image": lambda case: per_image_loss(head, case), "foundationx": batched_loss}
    print(f"torch {torch.__version__}, {platform.machine()} CPU, 1 thread, {options.runs} alternating runs;")
    print(f"{LAYERS} layers, {QUERIES} queries, {CLASSES} classes, about {DENOISING} denoising pairs per image.\n")
    print("| batch | criterion | ops forward | ops with backward | syncs | ms forward | with backward | times faster |")
    print("|---|---|---|---|---|---|---|---|")
    for batch in options.batches:
        case = draw_case(batch)
        figures = {name: count(criterion, case) for name, criterion in criteria.items()}
        theirs, ours = figures.values()
        torch.testing.assert_close(ours.loss, theirs.loss, atol=0, rtol=1e-4)
        for _ in range(options.runs):
            for name, criterion in criteria.items():
                figures[name].seconds.append(time_once(criterion, case))
        for name, result in figures.items():
            print(row(str(batch), name, result, theirs))


if __name__ == "__main__":
    main()
