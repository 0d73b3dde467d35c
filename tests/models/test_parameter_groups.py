"""Every parameter in one parameter group and one of the optimizer's; what a phase locks does not move by a bit."""

import copy
from dataclasses import replace

import pytest
import torch

from foundationx.core.config.load import parse_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import OptimizerConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch, PhaseName, Task, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.engine.optim import build_optimizer
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.step import training_losses
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_members, lock, task_groups
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.segmentation.target import SegmentationBatch
from tests.helpers import tiny_network
from tests.helpers.tiny_network import UNIHEAD

BACKBONE = tiny_network.BACKBONE | {"drop_path_rate": 0.1}
DETECTION = tiny_network.DETECTION | {"denoising": 4}
HEADS = {
    TaskKey("a", Task.CLASSIFICATION): ("x", "y"),
    TaskKey("b", Task.DETECTION): ("x",),
    TaskKey("b", Task.SEGMENTATION): ("x", "z"),
    TaskKey("c", Task.DETECTION): ("u", "v", "w"),
    TaskKey("c", Task.SEGMENTATION): ("u",),
    TaskKey("d", Task.CLASSIFICATION): ("q",),
}


def model_config(sharing="decoder", projector=False, heads=None):
    values = {"backbone": BACKBONE, "detection": DETECTION | {"sharing": sharing}, "segmentation": {"channels": 8}}
    values["heads"] = heads or {}
    return ModelConfig.model_validate(values | ({"projector": {"features": 12}} if projector else {}))


def make_batch(key, classes, size=64, count=2):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 255, (count, 1, size, size), dtype=torch.uint8, generator=generator)
    common = (key, images, images, torch.ones(count, len(classes)), ())
    if key.task is Task.DETECTION:
        boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4]], [[0.3, 0.6, 0.2, 0.3]]])
        return DetectionBatch(*common, centred_boxes=boxes, box_classes=torch.zeros(count, 1, dtype=torch.int64))
    if key.task is Task.SEGMENTATION:
        masks = torch.randint(0, 2, (count, len(classes), size, size), dtype=torch.uint8, generator=generator)
        return SegmentationBatch(*common, masks=masks)
    return Batch(*common)


VARIANTS = [("decoder", False, None), ("queries", True, None), ("decoder", True, UNIHEAD)]


@pytest.mark.parametrize(("sharing", "projector", "heads"), VARIANTS)
def test_every_parameter_is_in_one_parameter_group_and_one_lr_group(sharing, projector, heads):
    model = FoundationModel(model_config(sharing, projector, heads), HEADS)
    named = [name for names in group_members(model).values() for name in names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    optimizer = build_optimizer(model, OptimizerConfig())
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert ("decoder.detection" in group_members(model)) == (sharing == "queries")


def test_groups_are_merged_and_scaled():
    model = FoundationModel(model_config(), HEADS)
    config = OptimizerConfig(lr=1e-3, weight_decay=0.1, lr_scale={"backbone": 0.1, "head.classification": 0.5})
    optimizer = build_optimizer(model, config)
    settings = {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    expected = {(lr, decay) for lr in (1e-4, 5e-4, 1e-3) for decay in (0.0, 0.1)}
    assert settings == expected and len(optimizer.param_groups) == len(expected)
    lr_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        wanted = 1e-4 if name.startswith("backbone.") else 5e-4 if "__classification" in name else 1e-3
        assert lr_of[id(parameter)] == wanted, name
    with pytest.raises(ConfigError, match="did you mean 'backbone'"):
        build_optimizer(model, OptimizerConfig(lr_scale={"backbon": 1.0}))


LOCKED = {"classification": 0.5, "detection": 0.5, "segmentation": 0.5}


def plan_for(model_cfg, sharing_lock=True):
    values = {
        "name": "x",
        "model": model_cfg.model_dump(),
        "datasets": [{"card": "unused"}],
        "schedule": {"cycles": 1, "lock": LOCKED, "lock_until": 1.0, "floor": 0.0, "turns": 1},
    }
    plan = build_plan(parse_config(values, "test"), dict.fromkeys(HEADS, 4))
    assert {phase.name for phase in plan.phases} == {PhaseName.LOCK, PhaseName.RELEASE}
    return plan


@pytest.mark.parametrize(("sharing", "projector", "heads"), VARIANTS)
def test_each_phase_changes_exactly_its_groups(sharing, projector, heads):
    """One optimizer step of every (task, phase): what is named moves, all else is bit-identical, buffers included."""
    config = model_config(sharing, projector, heads)
    torch.manual_seed(0)
    model = FoundationModel(config, HEADS)
    teacher = Teacher(model)
    normalise = Normaliser(config, "cpu")
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2, weight_decay=0.1, decay_norms_and_biases=True))
    for phase in plan_for(config).phases:
        before = copy.deepcopy(model.state_dict())
        with lock(model, phase.trainable):
            batch = make_batch(phase.key, HEADS[phase.key])
            training_losses(model, teacher, normalise, batch, phase).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        after = model.state_dict()
        parameters = dict(model.named_parameters())
        by_group = group_members(model)
        for group, names in by_group.items():
            changed = [name for name in names if not torch.equal(before[name], after[name])]
            if group in phase.trainable:
                assert changed, f"{phase.key} {phase.name}: nothing moved in {group}"
            else:
                assert not changed, f"{phase.key} {phase.name}: {changed[:3]} moved in locked {group}"
        for name in before.keys() - parameters.keys():
            if phase.name is PhaseName.LOCK:
                assert torch.equal(before[name], after[name]), f"statistics {name} moved in a lock phase"
        assert all(p.grad is None for p in model.parameters())
        assert not model.training


def test_release_moves_normalisation_statistics_and_lock_builds_no_graph_below():
    config = model_config()
    model = FoundationModel(config, HEADS)
    key = TaskKey("b", Task.SEGMENTATION)
    images = torch.rand(2, 3, 64, 64)
    before = {name: value.clone() for name, value in model.named_buffers()}
    with lock(model, task_groups(key, config)):
        model.trunk(images, key)
    assert any(not torch.equal(before[name], value) for name, value in model.named_buffers() if "running_mean" in name)
    with lock(model, (f"head.{key}",)):
        assert not model.trunk(images, key).requires_grad
    with pytest.raises(KeyError, match="no such parameter group"), lock(model, ("head.nobody/detection",)):
        pass


@pytest.mark.parametrize("key", [key for key in HEADS if key.dataset in ("a", "c")], ids=str)
def test_consistency_alone_teaches_the_backbone(key):
    """docs/methods/foundation_x.md, "2.4 Consistency loss": in the released code the detection term reaches no student
    parameter at all."""
    config = model_config()
    torch.manual_seed(0)
    model = FoundationModel(config, HEADS)
    teacher = Teacher(model)
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.mul_(1.05)
    phase = next(p for p in plan_for(config).phases if p.key == key and p.name is PhaseName.RELEASE)
    phase = replace(phase, consistency=1.0)
    with lock(model, phase.trainable):
        training_losses(model, teacher, Normaliser(config, "cpu"), make_batch(key, HEADS[key]), phase).loss.backward()
        moved = [name for name, p in model.backbone.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
        assert len(moved) > 10
    assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())
