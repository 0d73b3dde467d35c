"""One rank of a small job: gradients of its share of a batch, averaged over ranks, written by the main process.

    torchrun --nproc-per-node 2 tests/helpers/ranks_script.py OUT [unihead | one_stage | filled]

With ``unihead`` every task that has such a head has it (``one_stage``: boxes without proposals), and all regions are
trained, none drawn at random. With ``filled`` the teacher's labels, boxes and masks of the other heads are learned too.

Without a launcher it computes the gradients of the whole batch.
"""

import functools
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foundationx.core import distributed
from foundationx.core.config.load import load_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch, PhaseName, Task, TaskKey, all_tasks
from foundationx.data.datamodule import DataModule
from foundationx.data.normalise import Normaliser
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.agreement import Agreement, Flags
from foundationx.engine.exchange import GradientExchange
from foundationx.engine.filling import Fillable, Filling
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.step import training_losses
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import task_groups
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.fill import Limits
from foundationx.tasks.keypoints.target import KeypointsBatch
from foundationx.tasks.points import proposals, two_stage
from foundationx.tasks.segmentation.target import SegmentationBatch
from tests.helpers.tiny_network import BACKBONE, DETECTION, ONE_STAGE, UNIHEAD

HEADS = {
    TaskKey(task.value, task): ("x", "y")
    for task in all_tasks()
    if task.value in ("classification", "detection", "segmentation", "keypoints")
}
IMAGES = 8
CONFIG = Path(__file__).with_name("tiny_config.py")


def make_batch(key: TaskKey) -> Batch:
    """Eight images of very unequal annotation: the first half knows all, the second (mostly another rank's) little."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 255, (IMAGES, 1, 64, 64), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (IMAGES, 2), generator=generator).float()
    labels[1::2] = float("nan")  # with two ranks, rank 1 knows nothing at all
    if key.task is Task.DETECTION:
        boxes = 0.2 + 0.3 * torch.rand(IMAGES, 2, 4, generator=generator)
        classes = torch.zeros(IMAGES, 2, dtype=torch.int64)
        classes[1::2] = -1
        labels[1::2] = 0.0  # known negatives: images without boxes
        return DetectionBatch(key, images, images, labels, (), centred_boxes=boxes, box_classes=classes)
    if key.task is Task.SEGMENTATION:
        masks = torch.randint(0, 2, (IMAGES, 2, 64, 64), dtype=torch.uint8, generator=generator)
        masks[1::2, 0] = 255
        return SegmentationBatch(key, images, images, labels, (), masks=masks)
    if key.task == "keypoints":
        points = torch.rand(IMAGES, 2, 2, generator=generator)
        points[1::2], points[0, 1] = float("nan"), float("nan")
        extents = torch.full((IMAGES, 2), float("nan"))
        return KeypointsBatch(key, images, images, labels, (), points=points, visible=labels, extents=extents)
    return Batch(key, images, images, labels, ())


def share(batch: Batch) -> Batch:
    """The share of this rank."""
    mine = slice(distributed.rank(), None, distributed.world_size())
    own = {f.name: v[mine] for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    own["teacher_images"] = own["images"]
    return replace(batch, **own)


def filling_of(model: FoundationModel) -> Filling:
    """Every head but that of points answers for the images of the others, for all of its classes."""
    run = load_config(CONFIG, {"filling": {"weight": 0.5, "examples": 0}})
    filling = Filling(run.filling, DataModule({}, {}, {}, {}, run), model, Catalog())
    answering = [key for key in HEADS if key.task != "keypoints"]
    filling.fillable = {key: [Fillable(other) for other in answering if other != key] for key in answering}
    filling.limits = {key: Limits(np.full(2, 0.05), np.full(2, 0.01)) for key in answering}
    return filling


def with_filling(losses, filling, model, teacher):
    """The losses of a step, and those of what the teacher fills in."""

    def both(batch, phase, trunk_output):
        output = losses(batch, phase, trunk_output)
        with distributed.no_known_totals():
            return filling.add(output, model, teacher, batch, phase, 0.5)

    return both


def main(target: str, heads: str = "") -> None:
    torch.set_num_threads(1)
    proposals.SAMPLED, two_stage.POSITIVE_SHARE = 5000, 1.0
    with distributed.init_process_group():
        torch.manual_seed(0)
        config = ModelConfig.model_validate(
            {"backbone": BACKBONE, "detection": DETECTION | {"denoising": 0}, "segmentation": {"channels": 8}}
            | {"heads": {"unihead": UNIHEAD, "one_stage": ONE_STAGE}.get(heads, {})}
        )
        model = FoundationModel(config, HEADS).eval()  # batch statistics would be those of a rank's share
        teacher = Teacher(model)
        with torch.no_grad():
            for parameter in teacher.model.parameters():
                parameter.add_(0.01)
        filling = filling_of(model) if heads == "filled" else None
        result = {}
        for key in HEADS:
            phase = Phase(PhaseName.RELEASE, key, 1, 1, 0, 1, task_groups(key, config), 0.5, 0.8, True, True)
            batch = share(make_batch(key))
            losses = functools.partial(training_losses, model, teacher, Normaliser(config, "cpu"))
            if filling is not None:
                losses = with_filling(losses, filling, model, teacher)
            counts = {"images": len(batch)} | model.head(key).counts(batch)
            with Agreement(Flags(), counts).counts():
                if distributed.world_size() == 1:
                    losses(batch, phase, None).loss.backward()
                else:
                    exchange = GradientExchange(model, losses)
                    exchange.losses(batch, phase, None, is_last=True).loss.backward()
                    assert exchange.finish()
            result |= {f"{key}:{n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            model.zero_grad(set_to_none=True)
        if distributed.is_main_process():
            counts = {} if filling is None else {f"{d}:{key}": count for (d, key), count in filling.counts.items()}
            torch.save(result | counts, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
