"""Imports against files in the released form and the outputs that the released networks gave for them."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from foundationx.core.errors import CheckpointError
from foundationx.models.backbone import Backbone
from foundationx.weights.imports.released import read_released

pytestmark = pytest.mark.shared

CLASSIFICATION = {"mean": 0.5056, "std": 0.252}


@pytest.fixture(scope="module")
def released(shared_data):
    folder = shared_data / "released"
    if not folder.is_dir():
        pytest.skip(f"files of released networks are absent: {folder}")
    return folder


def normalised(images, mean, std):
    """(N, H, W, 3) uint8 to (N, 3, H, W), computed in double precision."""
    values = (images.double() / 255 - torch.tensor(mean).double()) / torch.tensor(std).double()
    return values.permute(0, 3, 1, 2).float()


def error(result, expected):
    """Greatest difference as a share of the greatest value."""
    return float((result - expected).abs().max() / expected.abs().max())


def network(content, **changes):
    """The imported backbone with its weights."""
    shape = dataclasses.replace(content.shape, **changes) if changes else content.shape
    backbone = Backbone(shape.config()).eval()
    backbone.net.load_state_dict(content.backbone)
    return backbone


@torch.no_grad()
def pooled(backbone, images):
    return backbone(images)[-1].mean(dim=(2, 3))


@pytest.mark.parametrize("name", ["x", "x_plus"])
def test_foundation_x_features_and_labels(name, released):
    content = read_released(released / f"{name}_tiny.pth")
    inputs = load_file(released / "foundation_x_inputs.safetensors")
    outputs = load_file(released / f"{name}_tiny_outputs.safetensors")
    assert content.kind == {"x": "foundation_x", "x_plus": "foundation_x_plus"}[name]
    assert content.shape.config()["type"] == "mmdet.SwinTransformer" and len(content.heads) == 11
    backbone = network(content)
    titles = {
        **{"tbx11k": "TBX11K", "node21": "NODE21", "candid_ptx": "CANDID-PTX", "rsna_pneumonia": "RSNA"},
        **{"chestx_det": "ChestX-Det", "siim_acr": "SIIM-ACR", "chexpert": "CheXpert", "shenzhen": "Shenzhen"},
        **{"nih_chestxray14": "ChestX-ray14", "vindr_cxr_global": "VinDr-CXR", "mimic_cxr_jpg": "MIMIC-CXR"},
    }
    for part in ("classification", "classification_256"):
        feature = pooled(backbone, inputs[part].float())
        assert error(feature, outputs[f"{part}/pooled"]) < 1e-5
        for head in content.heads:
            (key,) = [key for key in outputs if key == f"{part}/{titles[head.name]}/logits"]
            assert error(feature @ head.weight.T + head.bias, outputs[key]) < 1e-4
    wrong = pooled(network(content, shift="published"), inputs["classification"].float())
    assert error(wrong, outputs["classification/pooled"]) > 1e-3
    wrong = pooled(network(content, eps=1e-6), inputs["classification"].float())
    assert error(wrong, outputs["classification/pooled"]) > 1e-3


@pytest.mark.parametrize("name", ["ace", "lamps"])
def test_swins_of_ace_and_lamps(name, released):
    content = read_released(released / f"{name}_tiny.pth")
    inputs = load_file(released / f"{name}_tiny_inputs.safetensors")
    outputs = load_file(released / f"{name}_tiny_outputs.safetensors")
    assert content.kind == name and (content.mean, content.std) == ((0.5056,) * 3, (0.252,) * 3)
    reason = "stored, but not used by the released forward"
    assert content.skipped["backbone.mask_token"] == reason
    assert (name == "ace") == ("backbone.absolute_pos_embed" not in content.skipped)
    for size in (448, 224):
        images = normalised(inputs[f"image_{size}"], content.mean, content.std)
        with torch.no_grad():
            last = network(content)(images)[-1]
        assert error(last.mean(dim=(2, 3)), outputs[f"pooled_{size}"]) < 1e-5
        assert error(last.flatten(2).transpose(1, 2), outputs[f"tokens_{size}"]) < 1e-5
        assert error(pooled(network(content, eps=1e-5), images), outputs[f"pooled_{size}"]) > 3e-4
    assert error(pooled(network(content, shift="published"), images), outputs["pooled_224"]) > 1e-3


@torch.no_grad()
def test_ark_plus_on_a_convnext(released):
    content = read_released(released / "ark_plus_convnext_tiny.pth")
    inputs = load_file(released / "ark_plus_convnext_tiny_inputs.safetensors")
    outputs = load_file(released / "ark_plus_convnext_tiny_outputs.safetensors")
    assert content.kind == "ark" and content.entry == "teacher" and content.mean == (0.485, 0.456, 0.406)
    names = ("mimic_cxr_jpg", "chexpert", "nih_chestxray14", "rsna_pneumonia", "vindr_cxr_global", "shenzhen")
    assert tuple(head.name for head in content.heads) == names
    assert {name for name, reason in content.skipped.items() if "classifier" in reason} == {"head.weight", "head.bias"}
    backbone = network(content)
    for size in (224, 320):
        feature = pooled(backbone, normalised(inputs[f"image_{size}"], content.mean, content.std))
        assert error(feature, outputs[f"pooled_{size}"]) < 1e-5
        projected = feature @ content.projector["0.weight"].T + content.projector["0.bias"]
        assert error(projected, outputs[f"projected_{size}"]) < 1e-5
        for index, head in enumerate(content.heads):
            assert error(projected @ head.weight.T + head.bias, outputs[f"logits_{index}_{size}"]) < 1e-4


def test_heads_of_other_datasets_are_named_by_cards(released):
    cards = ["padchest", "chexpert", "nih_chestxray14", "covidx", "vindr_cxr_global", "shenzhen"]
    with pytest.raises(CheckpointError, match=r"heads with \[14, 14, 14, 3, 6, 1\] outputs"):
        read_released(released / "ark_plus_convnext_tiny.pth", heads=cards)
    with pytest.raises(CheckpointError, match="found 'shenzen'") as caught:
        read_released(released / "ark_plus_convnext_tiny.pth", heads=[*cards[:5], "shenzen"])
    assert "shenzhen" in str(caught.value)
    own = ["chexpert_small", *cards[1:]]
    heads = read_released(released / "ark_plus_convnext_tiny.pth", heads=own).heads
    assert [head.name for head in heads] == own and len(heads[0].classes) == 14


def test_configurations_of_the_files_say_what_was_read(released):
    for name in ("x", "x_plus", "ace", "lamps"):
        described = json.loads((released / f"{name}_tiny_config.json").read_text())
        shape = read_released(released / f"{name}_tiny.pth").shape
        assert str(shape.embed_dims) in json.dumps(described) and shape.depths == (2, 2, 2, 2)
