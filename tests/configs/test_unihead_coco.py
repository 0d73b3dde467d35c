"""UniHead's presets for COCO: they load with the card beside them, and their heads have the published sizes."""

from pathlib import Path

import pytest
from torch import nn

from foundationx.core.config.load import load_config
from foundationx.core.types import TaskKey
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.engine.schedule.plan import build_plan
from foundationx.models.foundation_model import FoundationModel

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "unihead" / "coco"
STAGE = 13_163_410 - 32 * (512 + 1)
"""The published size with 81 classes, without a box of background: 32 outputs of 512 weights and a bias fewer."""

ONE_BOX = STAGE - 79 * 32 * (512 + 1)
OUTLINES = 13_927_056
SIZES = {
    "unihead_coco": ([STAGE], 0),
    "unihead_coco_cascade": ([ONE_BOX] * 3, 0),
    "unihead_coco_masks": ([STAGE], OUTLINES),
}
IMAGES = 117_266
"""Images of train2017 with an object."""


def built(path):
    config = load_config(path)
    (dataset,) = config.datasets
    (task,) = dataset.tasks
    card = Catalog([*default_folders(), FOLDER]).card(dataset.card)
    key = TaskKey(dataset.card, task)
    return config, key, FoundationModel(config.model, {key: [item.name for item in card.tasks[task].classes]})


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_preset_is_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_a_preset_has_the_published_settings_and_sizes(name):
    config, key, model = built(FOLDER / f"{name}.py")
    assert config.name == name and len(model.classes[key]) == 80
    plan = build_plan(config, {key: IMAGES})
    steps = sum(phase.steps for phase in plan.phases)
    assert steps == pytest.approx(13 * IMAGES / 32, rel=0.01)
    assert config.optimizer.lr == pytest.approx(6.25e-6 * config.runtime.batch_size)
    assert config.optimizer.warmup * steps == pytest.approx(500, rel=0.01)
    assert all(phase.consistency == 0 for phase in plan.phases)
    stages, outlines = SIZES[name]
    assert [size(stage) for stage in model.head(key).two_stage.stages] == stages
    assert size(getattr(model.head(key), "outline_stage", nn.Identity())) == outlines
