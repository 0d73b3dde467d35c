"""Released self-supervised weights: equal features, every tensor accounted for, faults told."""

import json
import re

import pytest
import torch
from safetensors import safe_open

from foundationx.apps.cli.main import main
from foundationx.core.errors import CheckpointError
from foundationx.models.backbone import Backbone
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.family import names_of
from foundationx.weights.imports.imported import write_imported
from foundationx.weights.imports.released import read_released
from tests.helpers.plain_networks import PlainConvNeXt, PlainResNet, PlainViT
from tests.helpers.plain_swin import PlainSwin, as_built_by
from tests.helpers.released_files import SIZE, draw, save, swin
from tests.helpers.selfsup_released import FILES, lamps, networks, peac, put

IMAGES = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


@pytest.fixture(scope="module")
def plain():
    return networks()


def pooled(folder):
    """Mean feature of the last stage of an imported backbone."""
    with safe_open(folder / "backbone.safetensors", framework="pt") as stored:
        config = json.loads(stored.metadata()["backbone"])
    backbone = Backbone(config).eval()
    load_backbone(backbone.net, folder / "backbone.safetensors")
    with torch.no_grad():
        return backbone(IMAGES)[-1].mean((2, 3))


@pytest.mark.parametrize("name", FILES)
def test_imported_backbone_gives_the_features_of_the_source(name, plain, tmp_path):
    wrap, network = FILES[name]
    reference, tensors = plain[network]
    path = save(wrap(tensors), tmp_path / "checkpoint.pth")
    result = read_released(path)
    assert result.kind == name.split()[0] and not result.heads and not result.projector
    write_imported(result, path, tmp_path)
    torch.testing.assert_close(pooled(tmp_path), as_built_by(name, reference)(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_and_entry_is_loaded_or_skipped_for_a_reason(name, plain, tmp_path):
    wrap, network = FILES[name]
    content = wrap(plain[network][1])
    result = read_released(save(content, tmp_path / "a.pth"))
    stored = {key.removeprefix("module.") for key in content[result.entry]}
    assert result.loaded.keys() | result.skipped.keys() == stored | (content.keys() - {result.entry})
    assert not result.loaded.keys() & result.skipped.keys() and all(result.skipped.values())
    loaded = [part for here in result.loaded.values() for part in names_of(here)]
    assert set(loaded) | result.initialised.keys() == result.backbone.keys()
    assert len(set(loaded)) == len(loaded) and not set(loaded) & result.initialised.keys()


def test_the_published_branch_is_loaded_and_the_other_if_asked(plain, tmp_path):
    branches = {"adam": "state_dict", "adam_v2": "teacher", "peac": "student", "ace": "teacher", "lamps": "teacher"}
    for name, branch in branches.items():
        wrap, network = FILES[name]
        assert read_released(save(wrap(plain[network][1]), tmp_path / name)).entry == branch
    tensors = plain["swin"][1]
    path = save(lamps(tensors), tmp_path / "lamps.pth")
    student = read_released(path, kind="lamps", entry="student")
    assert torch.equal(student.backbone["norm3.bias"], tensors["norm.bias"] + 1)
    assert student.skipped["teacher"].startswith("other weights")


def test_each_method_keeps_the_normalisation_of_its_training(plain, tmp_path):
    means = {"adam": (0.485, 0.456, 0.406), "adam_v2": (0.485, 0.456, 0.406)}
    # docs/methods/self_supervision.md, "8 Released checkpoints"
    means |= dict.fromkeys(("peac", "ace", "lamps"), (0.5056,) * 3)
    for name, mean in means.items():
        wrap, network = FILES[name]
        assert read_released(save(wrap(plain[network][1]), tmp_path / name)).mean == mean


def test_a_bare_encoder_is_a_resnet_and_adams_if_named(plain, tmp_path):
    tensors = plain["resnet"][1]
    path = save(tensors | {"fc.weight": draw(4, 128)}, tmp_path / "best_checkpoint.pth")
    assert read_released(path).kind == "resnet"
    result = read_released(path, kind="adam")
    assert result.kind == "adam" and set(result.skipped) == {"fc.weight"}
    assert result.shape.config()["depth"] == 50 and result.shape.config()["base_channels"] == 4


def test_convnext_under_timms_names_is_the_same(plain, tmp_path):
    tensors = plain["convnext"][1]
    rules = (
        (r"^norm\.", "head.norm."),
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv([12])\.", r".mlp.fc\1."),
    )
    renamed = {}
    for name, value in tensors.items():
        for pattern, new in rules[:1] if name.startswith("norm.") else rules[1:]:
            name = re.sub(pattern, new, name)
        renamed[name] = value
    assert "stem.0.weight" in renamed and "stages.1.blocks.0.mlp.fc1.weight" in renamed
    result, own = (read_released(save(t, tmp_path / "c.pth")) for t in (renamed, tensors))
    assert result.kind == "convnext" and result.backbone.keys() == own.backbone.keys()
    assert all(torch.equal(value, own.backbone[name]) for name, value in result.backbone.items())


def test_window_buffers_and_masks_of_swin_are_checked_and_give_the_image_size(plain, tmp_path):
    result = read_released(save(peac(plain["swin"][1]), tmp_path / "a.pth"))
    assert result.image_size == SIZE and result.shape.config()["type"] == "mmdet.PublishedSwin"
    wrong = plain["swin"][1] | {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4, dtype=torch.long)}
    with pytest.raises(CheckpointError, match="not that of a window of 2"):
        read_released(save(peac(wrong), tmp_path / "b.pth"))


def _without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def _with(name, value):
    return lambda tensors: tensors | {name: value}


FAULTS = {
    ("adam", "layer2.0.conv2.weight missing"): (_without("layer2.0.conv2.weight"), "1 missing: layer2.0.conv2.weight"),
    ("adam", "a stage missing"): (_without("layer4.2.conv1.weight"), r"stages of \(3, 4, 6, 2\) bottleneck"),
    ("adam", "stem missing"): (_without("conv1.weight"), "has no tensor 'conv1.weight'"),
    ("adam", "extra"): (_with("layer1.0.gate", draw(3)), "unexpected: layer1.0.gate"),
    ("adam", "shape"): (_with("bn1.bias", draw(3)), r"another shape: bn1.bias \(3,\) \(expected \(4,\)\)"),
    ("adam_v2 convnext", "missing"): (_without("stages.2.1.gamma"), "missing: stages.2.1.gamma"),
    ("adam_v2 convnext", "extra"): (_with("stages.0.0.grn", draw(3)), "unexpected: stages.0.0.grn"),
    ("adam_v2 convnext", "shape"): (_with("norm.bias", draw(3)), r"shape: norm.bias \(3,\)"),
    ("ace vit", "missing"): (_without("blocks.1.mlp.fc1.bias"), "missing: encoder.layers.1.mlp.fc1.bias"),
    ("ace vit", "no square"): (_with("pos_embed", draw(1, 12, 128)), "11 positions"),
    ("ace vit", "extra"): (_with("blocks.0.ls1.gamma", draw(3)), "unexpected: blocks.0.ls1.gamma"),
    ("lamps", "missing"): (_without("layers.1.blocks.0.mlp.fc1.bias"), "1 missing: stages.1.blocks.0.ffn"),
    ("ace", "extra"): (_with("absolute_pos_embed", draw(1, 256, 24)), "does not have: absolute_pos_embed"),
    ("peac", "shape"): (_with("norm.bias", draw(3)), r"shape: norm3.bias \(3,\)"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
def test_files_of_other_networks_are_refused(fault, plain, tmp_path):
    (wrap, network), (change, message) = FILES[fault[0]], FAULTS[fault]
    with pytest.raises(CheckpointError, match=message):
        read_released(save(wrap(change(plain[network][1])), tmp_path / "a.pth"))


def test_torn_foreign_and_misnamed_files_are_refused(plain, tmp_path):
    tensors = plain["swin"][1]
    whole = save(peac(tensors), tmp_path / "a.pth")
    (tmp_path / "torn.pth").write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="torn"):
        read_released(tmp_path / "torn.pth")
    content = peac(tensors)
    content["student"]["module.probe.weight"] = draw(3)
    with pytest.raises(CheckpointError, match=r"peac does not have: probe\.weight"):
        read_released(save(content, tmp_path / "probe.pth"))
    with pytest.raises(CheckpointError, match=r"names of adam_v2: backbone.\*"):
        read_released(whole, kind="adam_v2")
    with pytest.raises(CheckpointError, match="holds a backbone of kind swin"):
        read_released(save(put(tensors, "encoder_q."), tmp_path / "odd.pth"))
    with pytest.raises(CheckpointError, match="holds no classification heads"):
        read_released(save(tensors, tmp_path / "bare.pth"), heads=["chexpert"])


def test_command_lists_what_was_dropped(plain, tmp_path, capsys):
    path = save(FILES["adam"][0](plain["resnet"][1]), tmp_path / "checkpoint.pth")
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 0
    reported = capsys.readouterr().out
    assert "adam, state_dict" in reported and "momentum encoder" in reported and "ResNet: depth 50" in reported
    table = json.loads((tmp_path / "out/import.json").read_text())
    assert table["kind"] == "adam" and "shift" not in table and table["backbone"]["type"] == "mmdet.ResNet"
    statuses = {line["name"]: line["status"] for line in table["tensors"]}
    assert (
        statuses["encoder_q.conv1.weight"] == "loaded" and statuses["queue_ptr"] == statuses["optimizer"] == "skipped"
    )
    assert not (tmp_path / "out/heads.safetensors").exists()
    assert main(["import", str(path), "--out", str(tmp_path / "x"), "--kind", "peac"]) == 2
    assert "names of peac" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "parameters"),
    [
        ("adam", lambda: PlainResNet(64), 23_508_032),  # He et al. 2016: 25.56 M with the classifier's 2.05 M
        ("adam_v2 convnext", lambda: PlainConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024)), 87_566_464),
        ("ace vit", lambda: PlainViT(448, 32, 768, 12, 12), None),
        ("lamps", lambda: PlainSwin(128, (2, 2, 18, 2), (4, 8, 16, 32), 7), 86_743_224),
    ],
)
def test_real_sizes_are_read(name, make, parameters, tmp_path):
    network = make()
    stored = swin(network, 7, 448) if name == "lamps" else dict(network.state_dict())
    result = read_released(save(FILES[name][0](stored), tmp_path / "a.pth"))
    count = sum(value.numel() for value in network.parameters())
    assert count == sum(
        network.get_parameter(n.split(".", 1)[1]).numel()
        for n in result.loaded
        if "running" not in n and "tracked" not in n
    )
    assert parameters in (None, count)
    assert result.image_size == {"ace vit": 448, "lamps": 448}.get(name)
