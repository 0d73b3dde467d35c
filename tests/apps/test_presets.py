"""The presets: their plans, values at given points and networks, held against tables written by hand from the specs."""

import math
from pathlib import Path

import pytest
import torch

from foundationx.core.config.load import load_config
from foundationx.core.types import Task, TaskKey, all_tasks
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.engine.optim import learning_rate
from foundationx.engine.schedule.plan import build_plan
from foundationx.models.backbone import build_net
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_sizes
from foundationx.tasks.base import open_head
from foundationx.tasks.self_supervision.objective import open_objective

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FOLDERS = ("ark", "backbones", "foundation_x", "unihead")
PRESETS = sorted(p for name in FOLDERS for p in (CONFIGS / name).glob("*.py") if not p.stem.endswith("_phantom"))

NOT_RUNS = ("_base_", "mmengine")
EVERY = sorted(p for p in CONFIGS.rglob("*.py") if not set(p.relative_to(CONFIGS).parts) & set(NOT_RUNS))

# docs/methods/foundation_x.md, "2.1 Order of visits", the twenty visits of a cycle.
TWENTY = """
    chexpert C, nih_chestxray14 C, vindr_cxr_global C, shenzhen C, mimic_cxr_jpg C, tbx11k C, tbx11k D, node21 C,
    node21 D, candid_ptx C, candid_ptx D, candid_ptx S, rsna_pneumonia C, rsna_pneumonia D, chestx_det C, chestx_det D,
    chestx_det S, siim_acr C, siim_acr D, siim_acr S
"""
# docs/methods/ark.md, "1.2 Projector and heads": head order of the released Ark-6 and Ark+, and the outputs of each.
SIX = {
    "mimic_cxr_jpg": 14,
    "chexpert": 14,
    "nih_chestxray14": 14,
    "rsna_pneumonia": 3,
    "vindr_cxr_global": 6,
    "shenzhen": 1,
}
LETTERS = {"C": Task.CLASSIFICATION, "D": Task.DETECTION, "S": Task.SEGMENTATION}


def preset(name):
    return load_config(CONFIGS / f"{name}.py")


def heads_of(config):
    """Heads in the order of a cycle, with the classes of the real cards."""
    catalog = Catalog()
    return {
        TaskKey(dataset.card, task): tuple(item.name for item in catalog.card(dataset.card).tasks[task].classes)
        for dataset in config.datasets
        for task in all_tasks()
        if task in (dataset.tasks or ())
    }


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_names_cards_and_tasks_that_there_are(path):
    config = load_config(path)
    assert config.name == path.stem
    assert heads_of(config)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_configuration_names_heads_and_objectives_with_options_that_they_have(path):
    catalog = Catalog([*default_folders(), path.parent])  # COCO's card stands beside its presets
    config = load_config(path)
    tasks = {task for entry in config.datasets for task in entry.tasks or catalog.card(entry.card).tasks}
    assert tasks
    for task in tasks - {Task.SELF_SUPERVISION}:
        open_head(task, config.model)
    if Task.SELF_SUPERVISION in tasks:
        open_objective(config.model.objective)


@pytest.mark.parametrize("name", ["foundation_x/foundation_x", "foundation_x/foundation_x_plus"])
def test_a_cycle_of_foundation_x_has_its_twenty_visits(name):
    visits = [part.split() for part in TWENTY.replace("\n", " ").split(",")]
    assert list(heads_of(preset(name))) == [TaskKey(card, LETTERS[letter]) for card, letter in visits]


def test_arks_heads_have_the_released_order_and_widths():
    for name in ("ark/ark", "ark/ark_plus"):
        assert {key.dataset: len(classes) for key, classes in heads_of(preset(name)).items()} == SIX


def sizes_of(config, size=48):
    return dict.fromkeys(heads_of(config), size)


def test_momentum_and_weight_of_ark_at_given_rounds():
    """m(s) = 1 - 0.1 (1 + cos(pi s / S)) / 2 and c(s) = 0.25 (1 - cos(pi s / S)), s over all visits
    (docs/methods/ark.md, "2.2 Momentum and consistency weight")."""
    config = preset("ark/ark")
    plan = build_plan(config, sizes_of(config))
    assert plan.total_visits == 200 * 6 and len(plan.phases) == plan.total_visits, "no lock: one phase a visit"
    for visit in (0, 1, 300, 600, 1199):
        phase = plan.phases[visit]
        assert phase.momentum == pytest.approx(1 - 0.1 * (1 + math.cos(math.pi * visit / 1200)) / 2, abs=1e-12)
        assert phase.consistency == pytest.approx(0.25 * (1 - math.cos(math.pi * visit / 1200)), abs=1e-12)
    assert plan.phases[0].momentum == pytest.approx(0.9) and plan.phases[-1].momentum < 1
    keys = list(heads_of(config))
    assert [phase.key for phase in plan.phases[:12]] == keys * 2


def test_teacher_updates_a_cycle():
    """docs/methods/foundation_x.md, "2.3 Teacher": X 29, with classification not locked; X+ 40."""
    for name, updates in (("foundation_x", 29), ("foundation_x_plus", 40)):
        config = preset(f"foundation_x/{name}").model_copy(deep=True)
        plan = build_plan(config, sizes_of(config))
        first = [phase for phase in plan.phases if phase.cycle == 1]
        assert len(first) == updates and {phase.momentum for phase in first} == {0.8}
        assert {phase.consistency for phase in first if phase.name == "release"} == {0.5}


def test_rates_of_the_groups_and_over_the_visits():
    """docs/methods/foundation_x.md, "3.2 Optimizer and learning rate": backbone and classification heads 1e-5, all else
    1e-4; released: 5 % in the first cycle."""
    config = preset("foundation_x/foundation_x_as_released")
    plan = build_plan(config, sizes_of(config))
    factor = learning_rate(config.optimizer, plan)
    by_cycle = {phase.cycle: phase for phase in plan.phases}
    result = {cycle: 1e-5 * factor(by_cycle[cycle], by_cycle[cycle].first_step + 1) for cycle in (1, 2, 26, 76)}
    assert result[1] == pytest.approx(0.05 * 1e-5)
    assert result[2] == pytest.approx(1.00e-5, rel=1e-3)  # visit 21
    assert result[26] == pytest.approx(9.4e-6, rel=1e-2)  # visit 501
    assert result[76] == pytest.approx(5.0e-6, rel=2e-2)  # visit 1501
    phases = [phase for phase in plan.phases if phase.cycle == 26]
    assert len({factor(phase, phase.first_step + 1) for phase in phases}) == 1, "constant inside a cycle"
    smooth = learning_rate(preset("foundation_x/foundation_x").optimizer, plan)
    assert smooth(phases[0], phases[0].first_step + 1) > smooth(phases[-1], phases[-1].end_step)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone"),
    # docs/methods/ark.md, "1.1 Backbone": Swin-B 86,743,224 and Swin-L window 12 195,198,516 parameters. mmdet's Swin
    # has an output norm for each stage in place of one after the last: 2 * (128 + 256 + 512) and 2 * (192 + 384 + 768)
    # parameters more.
    [("ark/ark", 86_743_224 + 1_792), ("ark/ark_plus", 195_198_516 + 2_688)],
)
def test_backbones_have_the_published_size(name, backbone):
    config = preset(name)
    model = FoundationModel(config.model, heads_of(config))
    sizes = group_sizes(model)
    assert sizes["backbone"] == backbone
    width = {"ark/ark": 1024, "ark/ark_plus": 1536}[name]
    hidden = 1376 * 1376 + 1376 if name == "ark/ark" else 0
    assert sizes["projector"] == width * 1376 + 1376 + hidden
    assert sum(size for group, size in sizes.items() if group.startswith("head.")) == 52 * (1376 + 1)
    assert model.head(TaskKey("rsna_pneumonia", Task.CLASSIFICATION)).exclusive is (name == "ark/ark_plus")


def test_the_preset_of_dinov3_has_convnext_b_at_512_and_rates_that_fall_by_block():
    """ConvNeXt-B has 87,566,464 parameters without its classifier (Liu et al. 2022: 88.59 M with it); here
    the norms of three more stages."""
    config = preset("backbones/dinov3_convnext_b_512")
    with torch.device("meta"):
        net = build_net(config.model.backbone)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == 87_566_464 + 2 * (128 + 256 + 512)
    assert (config.image_size, config.optimizer.layer_decay) == (512, 0.8)
    assert len(heads_of(config)) == 20


def test_a_subset_of_the_tasks_keeps_the_fixed_order():
    """docs/methods/foundation_x_plus.md, "2.2 Selected tasks", X+ with a list of tasks: those visits, in the order of
    the cycle, whatever is written."""
    chosen = [
        {"card": "candid_ptx", "tasks": ["segmentation", "classification"]},
        {"card": "siim_acr", "tasks": ["segmentation"]},
    ]
    config = load_config(CONFIGS / "foundation_x" / "foundation_x_plus.py", {"datasets": chosen, "schedule.cycles": 2})
    plan = build_plan(config, sizes_of(config))
    visits = [(phase.key.dataset, phase.key.task, phase.name) for phase in plan.phases if phase.cycle == 1]
    assert visits == [
        (dataset, task, phase)
        for dataset, task in (
            ("candid_ptx", Task.CLASSIFICATION),
            ("candid_ptx", Task.SEGMENTATION),
            ("siim_acr", Task.SEGMENTATION),
        )
        for phase in ("lock", "release")
    ]
