"""Training and measuring for ``selfsup_transfer.py``: pretraining, few images with masks, a frozen backbone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from selfsup_worlds import SIDE, World
from torch import Tensor

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.types import Split
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.normalise import Normaliser
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.anatomy import measures as anatomy
from foundationx.evaluation.anatomy.landmarks import as_array, common
from foundationx.evaluation.anatomy.suite import Radiograph
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.metrics.dice import statistics
from foundationx.evaluation.predictions import Predictions
from foundationx.tasks.self_supervision.tokens import encoder
from foundationx.weights.exports.backbone import export_backbone

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "selfsup"
SECONDS_A_STEP = {"adam": 0.36, "adam_v2": 1.0, "peac": 0.7, "ace": 0.65, "lamps": 0.55}
"""Processor time of a step of ``*_nano.py`` on one thread of the machine it was tuned on: steps cost alike by it."""

PLAIN_VIT: Mapping[str, object] = {
    "type": "transformers.ViTModel",
    "image_size": 128,
    "patch_size": 16,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 768,
}
"""What MAE pretrains; about as large as the small Swin."""

RANDOM = "random weights"
VIEW, STEP = 160, 32
"""Pixels of the view around a place, and between the places where landmarks are searched in an image of ``SIDE``."""

LANDMARK_SIDES = (192, SIDE)
"""Pixels of the images in which landmarks are searched: as many as PEAC and Lamps cut their crops from, and more."""


def trainer_of(config: RunConfig, data_module: DataModule, folder: Path) -> Trainer:
    """A trainer without evaluation."""
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    return Trainer(config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder)


def finish(trainer: Trainer) -> None:
    """Trains to the end. Whoever asks the process to stop ends it: nothing half trained is measured."""
    if not trainer.train():
        raise SystemExit("stopped; the same command goes on")


def prepared(
    name: str,
    world: World,
    steps: int,
    folder: Path,
    network: Mapping[str, object] | None = None,
    changes: Mapping[str, object] | None = None,
) -> tuple[Trainer, DataModule]:
    """A trainer of an objective's nano configuration, and its images. Backbones of all objectives begin alike."""
    settings = {
        "datasets": _datasets(world),
        "split": world.shares,
        "schedule.cycles": 1,
        "schedule.release.self_supervision": 1000.0,
        "schedule.max_steps": steps,
        "runtime.workers": 0,
        "runtime.checkpoint_minutes": None,
        **_network(network),
        **(changes or {}),
    }
    config = load_config(CONFIGS / f"{name}_nano.py", settings)
    data_module = world.images(config)
    return trainer_of(config, data_module, folder), data_module


def _datasets(world: World) -> list[dict[str, object]]:
    """Images of a world's cards, without labels."""
    return [{"card": card, "tasks": ["self_supervision"]} for card in world.cards]


def begin(world: World, target: Path, network: Mapping[str, object] | None = None) -> None:
    """Writes the backbone that all objectives begin with, or another ``network`` as it begins."""
    trainer, _ = prepared(next(iter(SECONDS_A_STEP)), world, 1, target.parent, network)
    export_backbone(trainer.teacher.model, trainer.config, "teacher", target)


def pretrain(
    name: str, world: World, target: Path, steps: int, changes: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Trains an objective's nano configuration with ``changes``; its teacher's backbone goes to ``target``.

    Returns:
        ``seconds`` of processor time, and ``steps``.
    """
    trainer, _ = prepared(name, world, steps, target.parent, changes=changes)
    begun = time.process_time()
    finish(trainer)
    seconds = round(time.process_time() - begun, 1)
    export_backbone(trainer.teacher.model, trainer.config, "teacher", target)
    return {"steps": steps, "seconds": seconds}


def few_shot(
    world: World,
    init: Path,
    shots: int,
    seed: int,
    steps: int,
    folder: Path,
    network: Mapping[str, object] | None = None,
) -> dict[str, float]:
    """Tunes all weights on ``shots`` images with masks; Dice of each measured patient."""
    changes = {
        "datasets": [{"card": world.masks.dataset, "tasks": ["segmentation"]}],
        "split": world.shares,
        "model.objective": None,
        **_network(network),
        "model.init": str(init),
        "schedule.cycles": 1,
        "schedule.lock": {"classification": 1.0, "detection": 1.0},  # not visited
        "schedule.release": {"_delete_": True, "segmentation": 1000.0},
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
    (predictions,) = evaluate(data_module, {"student": trainer.model}, world.side, 1).predictions
    return dice_by_patient(predictions)


def dice_by_patient(predictions: Predictions) -> dict[str, float]:
    """Dice of every patient: the mean over its images, of each class, then over classes; both empty counts 1."""
    patients = np.asarray(predictions.patients)
    everyone = np.eye(predictions.patient_count)
    values = [one.of(everyone) for one in statistics(predictions) if one.metric == "Dice"]
    names = [str(patients[predictions.units == unit][0]) for unit in range(predictions.patient_count)]
    return dict(zip(names, np.nanmean(values, axis=0).tolist(), strict=True))


def frozen(world: World, init: Path, network: Mapping[str, object] | None = None) -> tuple[anatomy.Encoder, int]:
    """The encoder of a backbone, and the side in pixels of its images."""
    changes = {"model.init": str(init), "datasets": _datasets(world), "split": world.shares, **_network(network)}
    config = load_config(CONFIGS / "peac_nano.py", changes)
    data_module = world.images(config)
    model = build_model(config, data_module, "cpu").eval()
    key = next(iter(data_module.annotations))
    return encoder(lambda images: model.trunk(images, key), Normaliser(config.model, "cpu")), config.image_size


def measure(world: World, init: Path, patients: int, network: Mapping[str, object] | None = None) -> dict[str, object]:
    """Anatomy in a frozen backbone: wholes and parts of all images, landmarks between two groups of ``patients``.

    Returns:
        ``composition`` and ``decomposition``, and under ``landmarks`` what :func:`landmarks` gives for images of each
        of ``LANDMARK_SIDES``; errors are in 256ths of the side.
    """
    see, side = frozen(world, init, network)
    images = {pixels: world.measured(pixels) for pixels in LANDMARK_SIDES}
    wholes, quadrants, without = anatomy.parts_of(see, [item.image for item in images[SIDE]], side)
    own, others = (cosines.mean().item() for cosines in anatomy.composition_cosines(wholes, quadrants))
    removed = [
        anatomy.decomposition_hits(wholes, without[:, q], quadrants[:, q]).mean().item()
        for q in range(quadrants.shape[1])
    ]
    result = {"composition": own - others, "decomposition": float(np.mean(removed))}
    places = {str(pixels): landmarks(see, items, patients, pixels / SIDE) for pixels, items in images.items()}
    return result | {"landmarks": places}


def landmarks(see: anatomy.Encoder, images: list[Radiograph], patients: int, scale: float = 1.0) -> dict[str, object]:
    """Landmarks of every second image are searched in every other one, at most ``patients`` in each group.

    Args:
        see: the encoder.
        images: of one size.
        patients: most patients of a group.
        scale: pixels of ``images`` for one of those in which ``STEP`` and the errors are given.

    Returns:
        ``raw``: (Q, K) mean error in pixels of each pair, by features as they are; ``centred``: less their mean over
        all places; ``common``: the mean feature's share of the features' mean square; ``locality``; and what needs no
        network: the errors of any place (``chance``) and of the same place (``same_place``).
    """
    names = common([item.landmarks for item in images])
    complete = [item for item in images if all(name in item.landmarks for name in names)][: 2 * patients]
    points = [as_array(item.landmarks, names) for item in complete]
    features = [anatomy.features_at(see, item.image, p, VIEW) for item, p in zip(complete, points, strict=True)]
    places = anatomy.grid_of(complete[0].image.shape[0], round(STEP * scale))
    searched = complete[1::2]
    keys = [anatomy.features_at(see, item.image, places, VIEW) for item in searched]
    everywhere = torch.cat(keys)
    middle = everywhere.mean(dim=0)
    owners = np.repeat(np.arange(len(complete)), len(names)).tolist()
    hits = anatomy.locality_hits(torch.cat(features), list(range(len(names))) * len(complete), owners)
    asked, truths = points[: 2 * len(searched) : 2], points[1::2]
    anywhere = [anatomy.distances(places, truth).mean() for truth in truths]
    as_there = [np.linalg.norm(own - truth, axis=1) for own in asked for truth in truths]

    def errors(shift: Tensor) -> list[list[float]]:
        queries = features[: 2 * len(searched) : 2]
        return [
            [
                float(anatomy.correspondence(query - shift, key - shift, places, truth).mean()) / scale
                for key, truth in zip(keys, truths, strict=True)
            ]
            for query in queries
        ]

    return {
        "locality": hits.double().mean().item(),
        "raw": errors(torch.zeros_like(middle)),
        "centred": errors(middle),
        "common": float(middle.square().sum() / everywhere.square().sum(dim=1).mean()),
        "chance": float(np.mean(anywhere)) / scale,
        "same_place": float(np.mean(as_there)) / scale,
    }


def _network(network: Mapping[str, object] | None) -> dict[str, object]:
    """Changes of a configuration for another backbone than the small Swin."""
    return {} if network is None else {"model.backbone": {"_delete_": True, **network}}
