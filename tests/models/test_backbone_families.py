"""Every family of backbones trains every task, in lock and release; layer-wise rates and low-rank adaptation."""

import copy
from pathlib import Path

import pytest
import torch

from foundationx.core.config.load import load_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import OptimizerConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.engine.optim import build_optimizer
from foundationx.engine.step import training_losses
from foundationx.models.backbone import Backbone
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_state
from foundationx.models.parameter_groups import blocks_above, group_members, lock
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.continual import _shared
from tests.helpers import tiny_network
from tests.helpers.tiny_backbones import BACKBONES
from tests.models.test_parameter_groups import make_batch, plan_for

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).resolve().parents[1] / "helpers" / "tiny_config.py"

HEADS = {
    TaskKey("a", Task.CLASSIFICATION): ("x", "y"),
    TaskKey("b", Task.DETECTION): ("x",),
    TaskKey("b", Task.SEGMENTATION): ("x", "z"),
}
DETECTION = tiny_network.DETECTION | {"denoising": 4}


def config_of(name, **further):
    values = {"backbone": BACKBONES[name], "detection": DETECTION, "segmentation": {"channels": 8}}
    return ModelConfig.model_validate(values | further)


def train_every_phase(config):
    """One step of every task in lock and release: what moved in each, by group."""
    torch.manual_seed(0)
    model = FoundationModel(config, HEADS)
    teacher, normalise = Teacher(model), Normaliser(config, "cpu")
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2, weight_decay=0.1))
    for phase in plan_for(config).phases:
        if phase.key not in HEADS:
            continue
        before = copy.deepcopy(model.state_dict())
        with lock(model, phase.trainable):
            batch = make_batch(phase.key, HEADS[phase.key])
            loss = training_losses(model, teacher, normalise, batch, phase).loss
            assert torch.isfinite(loss)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        after = model.state_dict()
        members = group_members(model)
        moved = {group: {n for n in names if not torch.equal(before[n], after[n])} for group, names in members.items()}
        yield phase, model, moved


@pytest.mark.parametrize("name", BACKBONES)
def test_every_family_trains_all_tasks_in_lock_and_release(name):
    seen = set()
    for phase, model, moved in train_every_phase(config_of(name)):
        assert {group for group, names in moved.items() if names} <= set(phase.trainable)
        below = {n for n in moved["backbone"] if ".pyramid." not in n}
        assert bool(below) == (phase.name is PhaseName.RELEASE), f"{phase.key} {phase.name}"
        if phase.key.task is not Task.CLASSIFICATION and phase.name is PhaseName.RELEASE:
            pyramid = {n for n, _ in model.named_parameters() if ".pyramid." in n}
            assert not pyramid or pyramid & moved["backbone"], "the pyramid learns where its maps are used"
        seen.add((phase.key.task, phase.name))
    assert len(seen) == 6


@pytest.mark.parametrize("name", ["ViT", "DINOv2", "DINOv3 ViT", "EVA-02", "OpenCLIP", "Swin", "Swin v2", "ConvNeXt"])
def test_rates_fall_by_one_factor_per_block_from_the_last_one_down(name):
    """MAE's and BEiT's rule: the embedding has one factor more than the first block."""
    model = FoundationModel(config_of(name), HEADS)
    above, blocks = blocks_above(model), 4 if name in ("Swin", "Swin v2", "ConvNeXt") else 2
    assert set(above) == {n for n, _ in model.named_parameters() if n.startswith("backbone.")}
    assert set(above.values()) == set(range(blocks + 2))
    first, last = {"Swin": ("stages.0.", "stages.3."), "ConvNeXt": ("stages.0.", "stages.3.")}.get(name, (".0.", ".1."))
    first, last = ("layers.0.", "layers.3.") if name == "Swin v2" else (first, last)
    for parameter, count in above.items():
        inside = parameter.removeprefix("backbone.net.")
        if any(part in inside for part in ("embed", "cls_token", "downsample_layers.0.")):
            assert count == blocks + 1, inside
        elif inside.startswith(("pyramid.", "norm", "encoder.norm", "encoder.layernorm", "encoder.post_")):
            assert count == 0, inside
        elif first in inside and "downsample_layers" not in inside:
            assert count == blocks, inside
        elif last in inside and "norm" not in inside.split(".")[0]:
            assert count == 1, inside
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-3, layer_decay=0.5, lr_scale={"backbone": 0.1}))
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for parameter, value in model.named_parameters():
        expected = 1e-4 * 0.5 ** above[parameter] if parameter in above else 1e-3
        assert rate[id(value)] == pytest.approx(expected), parameter


def test_one_rate_for_all_blocks_is_the_default_and_changes_no_group():
    model = FoundationModel(config_of("ViT"), HEADS)
    one, other = (build_optimizer(model, OptimizerConfig(**given)) for given in ({}, {"layer_decay": 1.0}))
    assert [g["lr"] for g in one.param_groups] == [g["lr"] for g in other.param_groups] == [1e-4, 1e-4]


@pytest.mark.parametrize("name", ["DINOv2", "DINOv3 ViT", "EVA-02", "OpenCLIP", "Swin", "Swin v2"])
def test_low_rank_adaptation_trains_what_it_adds_and_nothing_else_of_the_backbone(name):
    config = config_of(name, lora={"rank": 2})
    for phase, _, moved in train_every_phase(config):
        added = {n for n in moved["backbone"] if n.endswith((".up", ".down"))}
        assert moved["backbone"] - added <= {n for n in moved["backbone"] if ".pyramid." in n}
        assert bool(added) == (phase.name is PhaseName.RELEASE)


@pytest.mark.parametrize("name", ["DINOv2", "EVA-02", "Swin"])
def test_adaptation_begins_at_the_pretrained_network_and_is_merged_at_export(name, tmp_path):
    plain = Backbone(BACKBONES[name]).eval()
    from safetensors.torch import save_file

    save_file({n: v.contiguous() for n, v in plain.net.state_dict().items()}, tmp_path / "start.safetensors")
    config = config_of(name, lora={"rank": 2, "layers": "all"})
    model = FoundationModel(config, HEADS).eval()
    load_backbone(model.backbone.net, tmp_path / "start.safetensors")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(plain(images), model.backbone(images), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        for parameter_name, parameter in model.backbone.named_parameters():
            if parameter_name.endswith(".up"):
                parameter.normal_(std=0.3)
    merged = plain_state(model.backbone.net)
    assert merged.keys() == plain.net.state_dict().keys()
    again = Backbone(BACKBONES[name]).eval()
    again.net.load_state_dict(merged)
    with torch.no_grad():
        outputs = [network(images)[-1] for network in (plain, model.backbone, again)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2
    torch.testing.assert_close(outputs[1], outputs[2], atol=1e-5, rtol=1e-5)


def test_adaptation_starts_from_an_earlier_run_by_name(tmp_path):
    torch.manual_seed(0)
    earlier, adapted = (FoundationModel(config_of("ViT", **given), HEADS) for given in ({}, {"lora": {"rank": 2}}))
    shared = _shared(adapted, earlier.state_dict(), tmp_path / "run")
    adapted.load_state_dict(adapted.state_dict() | shared)
    merged = plain_state(adapted.backbone.net)
    assert all(torch.equal(value, merged[name]) for name, value in earlier.backbone.net.state_dict().items())


def test_a_network_without_attention_is_adapted_as_a_whole_or_not_at_all():
    with pytest.raises(ConfigError, match="layers='all'"):
        FoundationModel(config_of("ConvNeXt", lora={}), HEADS)
    model = FoundationModel(config_of("ConvNeXt", lora={"layers": "all"}), HEADS)
    assert any(name.endswith("pwconv1.parametrizations.weight.0.up") for name, _ in model.named_parameters())


@pytest.mark.parametrize("name", ["ViT", "Swin v2", "ResNet", "ConvNeXt"])  # of transformers, of mmdet, ours
def test_arguments_of_a_base_configurations_backbone_are_left_out_as_the_error_says(name, tmp_path):
    derived = tmp_path / "derived.py"
    text = f"_base_ = {str(CONFIG)!r}\nmodel = dict(backbone={{}})\n"
    derived.write_text(text.format(BACKBONES[name]))
    with pytest.raises(ConfigError, match="`_delete_=True` beside `type` leaves out what a base configuration sets"):
        Backbone(load_config(derived).model.backbone)
    derived.write_text(text.format(BACKBONES[name] | {"_delete_": True}))
    Backbone(load_config(derived).model.backbone)
