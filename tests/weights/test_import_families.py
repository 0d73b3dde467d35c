"""Published backbones of every family: features equal the reference library's, every tensor accounted for.

References: features that timm gives for files under the authors' names (``tools/backbone_references.py``), and
transformers' own networks, whose files are written by ``save_pretrained``.
"""

import json
from pathlib import Path

import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.core.errors import CheckpointError
from foundationx.models.backbone import Backbone
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.family import names_of
from foundationx.weights.imports.imported import write_imported
from foundationx.weights.imports.released import read_released
from tests.helpers.hugging_face import NETWORKS, reference, save_network
from tests.helpers.published_names import FILES, drawn, images, open_clip, swinv2
from tests.helpers.released_files import save

TIMM = json.loads((Path(__file__).parent / "backbone_references.json").read_text())["features"]
KINDS = {
    "ViT": "vit",
    "MAE": "vit",
    "DINOv2": "dinov2",
    "DINOv2 with registers": "dinov2",
    "DINOv2 giant": "dinov2",
    "CheXFound": "dinov2",
    "DINOv3 ViT": "dinov3",
    "DINOv3 ViT H+": "dinov3",
    "DINOv3 ConvNeXt": "convnext",
    "ConvNeXt": "convnext",
    "ResNet": "resnet",
    "Swin v2": "swinv2",
    "EVA-02 S": "eva02",
    "EVA-02 B": "eva02",
    "EVA-X": "eva02",
    "SigLIP": "siglip",
    "OpenCLIP": "clip",
}


def backbone_of(path, folder):
    """The backbone that a run builds and loads from an import of the file."""
    result = read_released(path)
    write_imported(result, path if path.is_file() else path / "model.safetensors", folder)
    backbone = Backbone(result.shape.config()).eval()
    load_backbone(backbone.net, folder / "backbone.safetensors")
    return backbone, result


@torch.no_grad()
def pooled(backbone, size):
    return backbone(images(size))[-1].mean((2, 3))


def stored(name):
    """The file as published: CheXFound's weights are an entry of a training state, MAE's and EVA's of a file."""
    tensors = drawn(FILES[name][0])
    if name == "EVA-X":
        return {"module": tensors}
    return {"teacher": tensors, "iteration": 5} if name == "CheXFound" else tensors


@pytest.mark.parametrize("name", FILES)
def test_a_file_under_its_authors_names_gives_the_features_of_timm(name, tmp_path):
    path = save(stored(name), tmp_path / "published.pth")
    backbone, result = backbone_of(path, tmp_path)
    assert result.kind == KINDS[name]
    expected = torch.tensor(TIMM[name])
    torch.testing.assert_close(pooled(backbone, FILES[name][1]), expected, atol=1e-5, rtol=1e-5)
    assert [round(64 / stride) for stride in backbone.strides] == [16, 8, 4, 2] and len(backbone.channels) == 4


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_of_a_file_is_loaded_or_skipped_for_a_reason(name, tmp_path):
    result = read_released(save(stored(name), tmp_path / "published.pth"))
    further = {"iteration"} if name == "CheXFound" else set()
    assert result.loaded.keys() | result.skipped.keys() == set(FILES[name][0]) | further
    assert not result.loaded.keys() & result.skipped.keys() and all(result.skipped.values())
    loaded = {part for here in result.loaded.values() for part in names_of(here)}
    assert loaded | result.initialised.keys() == result.backbone.keys() and not loaded & result.initialised.keys()
    new = {here.split(".")[0] for here in result.initialised}
    assert new <= {"pyramid", "norm0", "norm1", "norm2"}, "what a published file has is not initialised anew"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_of_transformers_gives_the_features_of_transformers(name, tmp_path):
    network = save_network(name, tmp_path / "folder")
    backbone, result = backbone_of(tmp_path / "folder", tmp_path)
    assert result.kind == NETWORKS[name].kind
    for size in NETWORKS[name].sizes:
        expected = reference(name, network, images(size))
        torch.testing.assert_close(pooled(backbone, size), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["DINOv2", "DINOv3 ViT", "OpenCLIP", "EVA-02 B"])
def test_the_class_token_is_the_feature_if_asked(name, tmp_path):
    path = save(stored(name), tmp_path / "published.pth")
    backbone, result = backbone_of(path, tmp_path)
    other = Backbone(result.shape.config() | {"pooled": "class"}).eval()
    load_backbone(other.net, tmp_path / "backbone.safetensors")
    pixels = images(FILES[name][1])
    with torch.no_grad():
        expected = backbone.net.tokens(pixels)[:, 0]
    torch.testing.assert_close(pooled(other, FILES[name][1]), expected, atol=1e-6, rtol=1e-5)
    assert (pooled(backbone, FILES[name][1]) - expected).abs().max() > 1e-2


def test_images_of_sizes_that_patches_do_not_divide_are_resized_as_a_whole():
    config = {"type": "transformers.Dinov2Model", "image_size": 56, "hidden_size": 64, "num_hidden_layers": 1}
    backbone = Backbone(config | {"num_attention_heads": 1}).eval()
    pixels = images(64)
    resized = torch.nn.functional.interpolate(pixels, size=(56, 56), mode="bilinear")
    with torch.no_grad():
        for one, other in zip(backbone(pixels), backbone(resized), strict=True):
            assert torch.equal(one, other)
        assert [maps.shape[-1] for maps in backbone(images(512))] == [144, 72, 36, 18]


def test_config_json_says_what_weights_do_not_show(tmp_path):
    save_network("CLIP", tmp_path / "folder")
    stated = json.loads((tmp_path / "folder/config.json").read_text())
    vision = stated.get("vision_config", stated)
    vision.update(num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-4)
    (tmp_path / "folder/config.json").write_text(json.dumps(stated))
    pixels = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3}
    (tmp_path / "folder/preprocessor_config.json").write_text(json.dumps(pixels))
    result = read_released(tmp_path / "folder")
    config = result.shape.config()
    assert (config["num_attention_heads"], config["hidden_act"], config["layer_norm_eps"]) == (2, "gelu", 1e-4)
    assert result.mean == (0.5307,) * 3 and result.std == (0.2583,) * 3
    vision.update(hidden_act="subprocess.run")
    (tmp_path / "folder/config.json").write_text(json.dumps(stated))
    with pytest.raises(Exception, match="hidden_act"):
        read_released(tmp_path / "folder")


def test_normalisation_is_that_of_the_pretraining(tmp_path):
    means = {"OpenCLIP": 0.48145466, "SigLIP": 0.5, "DINOv2": 0.485}
    for name, mean in means.items():
        assert read_released(save(stored(name), tmp_path / "a.pth")).mean[0] == mean


FAULTS = {
    "a tensor beside a text tower": (
        "OpenCLIP",
        {"vision_adapter.weight": torch.ones(3)},
        "vision_adapter.weight beside",
    ),
    "an unknown tensor inside": ("DINOv2", {"blocks.0.gate": torch.ones(3)}, "1 unexpected: blocks.0.gate"),
    "another shape": ("DINOv3 ViT", {"norm.weight": torch.ones(3)}, r"norm.weight \(3,\)"),
    "no square of positions": ("ViT", {"pos_embed": torch.ones(1, 12, 64)}, "11 positions, which are no square"),
    "a mask that keeps biases of keys": (
        "DINOv3 ViT",
        {"blocks.0.attn.qkv.bias_mask": torch.ones(192)},
        "bias_mask keeps the biases of keys",
    ),
    "the last norm twice, differently": ("DINOv3 ConvNeXt", {"norms.3.weight": torch.ones(64)}, "differs from norm"),
    "no windows": ("Swin v2", {"layers.0.blocks.0.attn.relative_coords_table": None}, "says the size of the windows"),
    "a block without its mlp": ("EVA-02 B", {"blocks.1.mlp.w3.weight": None}, "missing: blocks.1.mlp.out.weight"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_of_another_network_is_refused_and_said_why(fault, tmp_path):
    name, change, message = FAULTS[fault]
    tensors = {key: value for key, value in (drawn(FILES[name][0]) | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        read_released(save(tensors, tmp_path / "a.pth"))


def test_windows_and_image_size_of_swin_v2_are_read_from_its_buffers(tmp_path):
    config = read_released(save(drawn(swinv2()), tmp_path / "a.pth")).shape.config()
    assert (config["window_size"], config["image_size"]) == (4, 128)
    assert config["pretrained_window_sizes"] == [0, 0, 0, 0]


def test_openais_clip_has_another_activation_than_openclips(tmp_path):
    tensors = drawn(open_clip())
    assert read_released(save(tensors, tmp_path / "a.pth")).shape.config()["hidden_act"] == "gelu"
    sizes = {name: torch.tensor(8) for name in ("input_resolution", "context_length", "vocab_size")}
    assert read_released(save(tensors | sizes, tmp_path / "b.pth")).shape.config()["hidden_act"] == "quick_gelu"


def test_the_command_says_what_was_recognised_and_what_was_left_out(tmp_path, capsys):
    path = save(stored("OpenCLIP"), tmp_path / "open_clip_pytorch_model.bin")
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "clip, bare state dict" in printed and "CLIP: image_size 64, patch_size 16" in printed
    assert "text tower, unused" in printed and "feature pyramid, which the published network does not have" in printed
    table = json.loads((tmp_path / "out/import.json").read_text())
    assert {line["name"] for line in table["tensors"]} >= set(FILES["OpenCLIP"][0])
