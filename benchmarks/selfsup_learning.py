"""Training and measuring for ``selfsup_transfer.py``: pretraining, few images with masks, a frozen backbone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from selfsup_worlds import SPLIT, World

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.types import Split
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.loader import usable
from foundationx.data.normalise import Normaliser
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.anatomy import measures as anatomy
from foundationx.evaluation.anatomy.landmarks import as_array, common
from foundationx.evaluation.anatomy.suite import Radiograph
from foundationx.evaluation.evaluator import evaluate
from foundationx.models.views import look_at_views
from foundationx.tasks.self_supervision.tokens import encoder
from foundationx.weights.exports.backbone import export_backbone

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "selfsup"
SECONDS_A_STEP = {"adam": 0.36, "adam_v2": 1.8, "peac": 0.7, "ace": 0.65, "lamps": 0.55}
"""Processor time of a step of ``*_nano.py`` on one thread of the machine it was tuned on: steps cost alike by it."""

RANDOM = "random weights"
OWN = ("margin", "rank", "spread")
MEMORY_BATCHES = 100
"""Enough for every queue here, and for a centre that follows in one turn of four to forget how it began."""
VIEW, LANDMARK_IMAGES = 160, 8
"""Pixels of the view around a place; images whose landmarks are searched."""


def steps_of(name: str, minutes: float) -> int:
    """Steps that take about so many minutes of one thread."""
    return max(1, round(60 * minutes / SECONDS_A_STEP[name]))


def trainer_of(config: RunConfig, data_module: DataModule, folder: Path) -> Trainer:
    """A trainer without evaluation."""
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    return Trainer(config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder)


def finish(trainer: Trainer) -> None:
    """Trains to the end. Whoever asks the process to stop ends it: nothing half trained is measured."""
    if not trainer.train():
        raise SystemExit("stopped; the same command goes on")


def prepared(name: str, world: World, steps: int, folder: Path) -> tuple[Trainer, DataModule]:
    """A trainer of an objective's nano configuration, and its images. Backbones of all objectives begin alike."""
    changes = {
        "datasets": _datasets(world),
        "split": SPLIT,
        "schedule.cycles": 1,
        "schedule.release.self_supervision": 1e6,
        "schedule.max_steps": steps,
        "runtime.workers": 0,
        "runtime.checkpoint_minutes": None,
    }
    config = load_config(CONFIGS / f"{name}_nano.py", changes)
    data_module = world.images(config)
    return trainer_of(config, data_module, folder), data_module


def _datasets(world: World) -> list[dict[str, object]]:
    """Images of a world's cards, without labels."""
    return [{"card": card, "tasks": ["self_supervision"]} for card in world.cards]


def begin(world: World, target: Path) -> None:
    """Writes the backbone that all objectives begin with."""
    trainer, _ = prepared(next(iter(SECONDS_A_STEP)), world, 1, target.parent)
    export_backbone(trainer.teacher.model, trainer.config, "teacher", target)


def pretrain(name: str, world: World, target: Path, steps: int) -> dict[str, object]:
    """Trains an objective's nano configuration; its teacher's backbone goes to ``target``.

    Returns:
        ``before`` and ``after``: loss, margin, rank and spread on the test side; ``seconds`` of processor time, and
        ``steps``.
    """
    untrained, data_module = prepared(name, world, steps, target.parent)
    fill_memories(untrained)
    result: dict[str, object] = {"steps": steps, "before": held_out(untrained, data_module)}
    trainer, _ = prepared(name, world, steps, target.parent)
    begun = time.process_time()
    finish(trainer)
    result["seconds"] = round(time.process_time() - begun, 1)
    result["after"] = held_out(trainer, data_module)
    export_backbone(trainer.teacher.model, trainer.config, "teacher", target)
    return result


def fill_memories(trainer: Trainer) -> None:
    """Gives an untrained network the queue and the centre that it would have at the end of a run.

    Without keys there is nothing to tell apart, and without a centre all images choose the same prototypes: losses that
    cost nothing.
    """
    trainer.model.train()
    for loaded in trainer.batches(max(0, trainer.plan.total_steps - MEMORY_BATCHES)):
        with torch.no_grad():
            look_at_views(trainer.model, trainer.teacher.model, trainer.normalise, usable(loaded, "raise"))


def held_out(trainer: Trainer, data_module: DataModule) -> dict[str, float]:
    """The student's total loss against the teacher on the test side, and the monitors of collapse.

    Adam's negatives are not pruned here: of an untrained network, for which all images look alike, none would be left.
    """
    objective = trainer.model.head(next(iter(data_module.annotations))).objective
    trained_with = objective.options
    if hasattr(trained_with, "prune_above"):
        objective.options = trained_with.model_copy(update={"prune_above": 2.0})
    rows = evaluate(data_module, {"student": trainer.model, "teacher": trainer.teacher.model}, Split.TEST, 1).rows
    objective.options = trained_with
    student = {(row.metric, row.class_name): row.value for row in rows if row.model == "student"}
    return {"loss": student["loss", "total"], **{name: student[name, "mean"] for name in OWN}}


def few_shot(world: World, init: Path, shots: int, seed: int, steps: int, folder: Path) -> float:
    """Mean Dice over the classes on the test side after tuning all weights on ``shots`` images with masks."""
    changes = {
        "datasets": [{"card": world.masks.dataset, "tasks": ["segmentation"]}],
        "split": SPLIT,
        "model.objective": None,
        "model.init": str(init),
        "schedule.cycles": 1,
        "schedule.lock": {"classification": 1.0, "detection": 1.0},  # not visited
        "schedule.release": {"_delete_": True, "segmentation": 1e6},
        "schedule.max_steps": steps,
        "teacher.update": "visit",
        "consistency.weight": 0.0,
        "optimizer.lr": 1e-3,
        "optimizer.curve": {"type": "cosine", "start": 1.0, "end": 0.0},
        "runtime.batch_size": 4,
        "runtime.eval_batch_size": 16,
        "runtime.workers": 0,
        "runtime.seed": seed,
        "runtime.checkpoint_minutes": None,
    }
    config = load_config(CONFIGS / "peac_nano.py", changes)
    data_module = open_datasets(config, world.data)
    indices = data_module.indices[world.masks][Split.TRAIN]
    data_module.indices[world.masks][Split.TRAIN] = np.sort(np.random.default_rng(seed).permutation(indices)[:shots])
    trainer = trainer_of(config, data_module, folder)
    finish(trainer)
    rows = evaluate(data_module, {"student": trainer.model}, Split.TEST, 1).rows
    return next(row.value for row in rows if (row.metric, row.class_name) == ("Dice", "mean"))


def measure(world: World, init: Path) -> dict[str, float]:
    """Anatomy in a frozen backbone: wholes and parts of all images, landmarks of those that have all of them."""
    config = load_config(
        CONFIGS / "peac_nano.py", {"model.init": str(init), "datasets": _datasets(world), "split": SPLIT}
    )
    data_module = world.images(config)
    model = build_model(config, data_module, "cpu").eval()
    key = next(iter(data_module.annotations))
    see = encoder(lambda images: model.trunk(images, key), Normaliser(config.model, "cpu"))
    images = world.measured()
    wholes, quadrants, without = anatomy.parts_of(see, [item.image for item in images], config.image_size)
    own, others = (cosines.mean().item() for cosines in anatomy.composition_cosines(wholes, quadrants))
    removed = [
        anatomy.decomposition_hits(wholes, without[:, q], quadrants[:, q]).mean().item()
        for q in range(quadrants.shape[1])
    ]
    result = {"composition": own - others, "decomposition": float(np.mean(removed))}
    names = common([item.landmarks for item in images])
    whole = [item for item in images if all(name in item.landmarks for name in names)]
    return result | _landmarks(see, whole[:LANDMARK_IMAGES], names)


def _landmarks(see: anatomy.Encoder, images: list[Radiograph], names: list[str]) -> dict[str, float]:
    """Locality, and the mean error in pixels of matching landmarks between pairs of patients."""
    points = [as_array(item.landmarks, names) for item in images]
    queries = [anatomy.features_at(see, item.image, p, VIEW) for item, p in zip(images, points, strict=True)]
    errors, places = [], anatomy.grid_of(images[0].image.shape[0], 16)
    for n in range(0, len(images) - 1, 2):
        keys = anatomy.features_at(see, images[n + 1].image, places, VIEW)
        errors.append(anatomy.correspondence(queries[n], keys, places, points[n + 1]))
    owners = np.repeat(np.arange(len(images)), len(names)).tolist()
    hits = anatomy.locality_hits(torch.cat(queries), list(range(len(names))) * len(images), owners)
    return {
        "locality": hits.double().mean().item(),
        "correspondence": float(np.mean(errors)),
    }
