"""Runs whose backbone is a network of transformers: the folder is the library's own, with equal features."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foundationx.apps.run.predict import Preprocessor
from foundationx.core.config.run import RunConfig
from foundationx.models.backbone import Backbone
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_state
from foundationx.weights.exports.formats import FORMATS, Source
from foundationx.weights.imports.released import read_released
from tests.helpers.plain_swin import randomise
from tests.helpers.tiny_backbones import BACKBONES

transformers = pytest.importorskip("transformers")

IMAGE = np.random.default_rng(0).integers(0, 256, (130, 90), dtype=np.uint8)
FAMILIES = ["ViT", "MAE", "DINOv2", "RAD-DINO", "CheXFound", "DINOv3 ViT", "SigLIP", "OpenCLIP", "Swin v2"]
SIZES = {"ViT": 96}
"""Image size of the run, if not that of the network (64): positions are interpolated."""


def build(name, lora=None):
    config = RunConfig.model_validate(
        {
            "name": "tiny",
            "image_size": SIZES.get(name, 64),
            "model": {"backbone": BACKBONES[name], "mean": (0.5, 0.4, 0.6), "std": (0.2, 0.3, 0.25), "lora": lora},
            "datasets": [{"card": "phantom_labels"}],
            "schedule": {"cycles": 1},
        }
    )
    return randomise(FoundationModel(config.model, {}), seed=1).eval(), config


def features(model, config):
    with torch.no_grad():
        return model.backbone(Preprocessor(config, "cpu")(IMAGE))[-1].mean((2, 3))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_printed_lines_give_the_features_of_the_run(name, tmp_path):
    """They are run as they are printed, with an image of ours: AutoModel, AutoImageProcessor and what they pool."""
    model, config = build(name)
    code = FORMATS.get("huggingface").write(Source(model, config, "teacher"), tmp_path / "made")
    place = "image = numpy.zeros((480, 400), numpy.uint8)"
    assert place in code
    scope = {"IMAGE": IMAGE}
    exec(code.replace(place, "image = IMAGE"), scope)
    torch.testing.assert_close(scope["pooled"], features(model, config), atol=1e-5, rtol=1e-5)
    stated = json.loads((tmp_path / "made/config.json").read_text())
    assert stated["architectures"] == [BACKBONES[name]["type"].removeprefix("transformers.")]
    assert "auto_map" not in stated, "the library's own network, without code"
    assert {file.name for file in (tmp_path / "made").iterdir()} == {
        *("model.safetensors", "config.json", "preprocessor_config.json", "image_processing_grey.py")
    }
    _, report = transformers.AutoModel.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(report.values()), "every tensor is in the file, and no other"


def test_the_pooler_that_automodel_adds_to_a_vit_gives_the_class_token(tmp_path):
    model, config = build("MAE")
    FORMATS.get("huggingface").write(Source(model, config, "teacher"), tmp_path / "made")
    net = transformers.AutoModel.from_pretrained(tmp_path / "made").eval()
    with torch.no_grad():
        found = net(Preprocessor(config, "cpu")(IMAGE))
    assert torch.equal(found.pooler_output, found.last_hidden_state[:, 0])


def test_sums_of_lora_are_merged_and_the_model_stays_as_it_is(tmp_path):
    model, config = build("DINOv2", {"rank": 2})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    FORMATS.get("huggingface").write(Source(model, config, "teacher"), tmp_path / "made")
    stored = load_file(tmp_path / "made/model.safetensors")
    merged = plain_state(model.backbone.net)
    for part in ("query", "key", "value"):
        name = f"encoder.layer.1.attention.attention.{part}.weight"
        ours = f"encoder.encoder.layer.1.attention.{part[0]}_proj.weight"
        assert torch.equal(stored[name], merged[ours])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["RAD-DINO", "ViT", "Swin v2"])
def test_the_folder_is_imported_with_the_features_of_the_run(name, tmp_path):
    model, config = build(name)
    FORMATS.get("huggingface").write(Source(model, config, "teacher"), tmp_path / "made")
    result = read_released(tmp_path / "made")
    assert (result.kind, result.image_size) == ("foundationx", config.image_size)
    assert (result.mean, result.std) == (config.model.mean, config.model.std)
    assert result.shape.config() == BACKBONES[name]
    backbone = Backbone(result.shape.config()).eval()
    backbone.net.load_state_dict(result.backbone)
    pixels = Preprocessor(config, "cpu")(IMAGE)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels)[-1].mean((2, 3)), features(model, config), atol=1e-5, rtol=1e-5)
