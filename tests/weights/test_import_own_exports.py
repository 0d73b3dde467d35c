"""Our own exports are imported with the features of the run; files that need no import are named as such."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.models.backbone import Backbone
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.exports.formats import FORMATS, Source
from foundationx.weights.imports.imported import write_imported
from foundationx.weights.imports.released import read_released
from tests.helpers.plain_swin import randomise

SIZE, MEAN, STD = 64, (0.5, 0.4, 0.6), (0.2, 0.3, 0.25)
IMAGES = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
NETWORKS = {
    "always": {"type": "mmdet.SwinTransformer"},
    "published": {"type": "mmdet.PublishedSwin"},
    "eps": {"type": "mmdet.SwinTransformer", "norm_cfg": {"type": "LN", "eps": 1e-2}},
    "resnet": {"type": "mmdet.ResNet", "depth": 18, "base_channels": 8},
}
SWIN = {"embed_dims": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "window_size": 2, "mlp_ratio": 2}
FORMATS_OF = {"timm": "", "timm06": ".safetensors", "huggingface": "", "mmdet": ".pth", "mmseg": ".pth"}


def build(name):
    backbone = {**NETWORKS[name], "out_indices": (0, 1, 2, 3), **({} if name == "resnet" else SWIN)}
    config = RunConfig(
        name="tiny",
        image_size=SIZE,
        model=ModelConfig(backbone=backbone, mean=MEAN, std=STD),
        datasets=[{"card": "phantom_labels"}],
        schedule={"cycles": 1},
    )
    return randomise(FoundationModel(config.model, {}), seed=1), config


def export(name, kind, folder):
    model, config = build(name)
    path = folder / f"exported{FORMATS_OF[kind]}"
    FORMATS.get(kind).write(Source(model, config, "teacher"), path)
    return model, path / "model.safetensors" if kind == "timm" else path


def last_map(net):
    with torch.no_grad():
        return net(IMAGES)[-1]


PAIRS = [(name, kind) for name in NETWORKS for kind in FORMATS_OF if name != "resnet" or kind == "mmdet"]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_an_export_is_imported_with_its_features(name, kind, tmp_path):
    model, path = export(name, kind, tmp_path)
    result = read_released(path)
    assert (result.kind, result.image_size, result.mean, result.std) == ("foundationx", SIZE, MEAN, STD)
    write_imported(result, path, tmp_path / "out")
    with safe_open(tmp_path / "out/backbone.safetensors", "pt") as stored:
        facts = stored.metadata()
    backbone = Backbone(json.loads(facts["backbone"])).eval()
    load_backbone(backbone.net, tmp_path / "out/backbone.safetensors")
    torch.testing.assert_close(last_map(backbone), last_map(model.backbone), atol=1e-5, rtol=1e-5)
    assert facts.get("shift") == {"resnet": None, "eps": "always"}.get(name, name)
    assert set(result.loaded.values()) | result.initialised.keys() == result.backbone.keys()


@pytest.mark.parametrize("name", ["weights", "weights.bin", "weights.pth", "weights.ckpt"])
def test_a_file_is_known_by_what_it_holds_whatever_its_name(name, tmp_path, capsys):
    _, path = export("always", "timm06", tmp_path)
    renamed = path.rename(tmp_path / name)
    result = read_released(renamed)
    assert (result.kind, result.image_size, result.mean, result.std) == ("foundationx", SIZE, MEAN, STD)
    backbone = tmp_path / f"own_{name}"
    FORMATS.get("backbone").write(Source(*build("always"), "teacher"), backbone)
    assert main(["import", str(backbone), "--out", str(tmp_path / "out")]) == FAULT
    assert "is an exported or imported backbone already" in capsys.readouterr().err


def test_a_state_dict_of_torch_that_is_named_safetensors_is_read(tmp_path):
    _, path = export("always", "mmdet", tmp_path)
    renamed = path.rename(tmp_path / "weights.safetensors")
    assert read_released(renamed).image_size == SIZE


def test_a_backbone_that_needs_no_import_is_named_as_such(tmp_path, capsys):
    model, config = build("always")
    path = tmp_path / "backbone_teacher.safetensors"
    FORMATS.get("backbone").write(Source(model, config, "teacher"), path)
    for kind in ([], ["--kind", "swin"]):
        assert main(["import", str(path), "--out", str(tmp_path / "out"), *kind]) == FAULT
    error = capsys.readouterr().err
    assert "is an exported or imported backbone already" in error and f"model.init={str(path)!r}" in error
    assert "was exported by foundationx" in error and not list(tmp_path.glob("out/*"))


def test_a_swin_under_mmdets_names_is_named_as_such(tmp_path):
    model, _ = build("always")
    state = {f"backbone.{name}": value for name, value in model.backbone.net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "mmdet.pth")
    with pytest.raises(CheckpointError, match="under the names of mmdet and mmseg"):
        read_released(tmp_path / "mmdet.pth")


@pytest.mark.parametrize("fact", ["backbone", "mean", "std", "image_size"])
@pytest.mark.parametrize("value", ["", "nonsense", '{"type": "os.system"}', "[1, 2]", "-3", "[NaN, 0, 0]"])
def test_senseless_metadata_are_an_error(fact, value, tmp_path):
    _, path = export("always", "timm", tmp_path)
    with safe_open(path, "pt") as stored:
        facts = stored.metadata()
    save_file(load_file(path), path, metadata=facts | {fact: value})
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == FAULT


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model.module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_removed(prefix, tmp_path):
    _, path = export("published", "timm", tmp_path)
    tensors = load_file(path)
    torch.save({f"{prefix}{name}": value for name, value in tensors.items()}, tmp_path / "wrapped.pth")
    result = read_released(tmp_path / "wrapped.pth")
    assert result.kind == "swin" and torch.equal(result.backbone["norm3.bias"], tensors["norm.bias"])


@pytest.mark.parametrize("prefix", ["", "swin."])
def test_a_swin_of_transformers_from_elsewhere(prefix, tmp_path):
    model, folder = export("published", "huggingface", tmp_path)
    tensors = {f"{prefix}{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    tensors = {name: value for name, value in tensors.items() if "hidden_states_norms" not in name}
    save_file(tensors | {"classifier.weight": torch.ones(3, 192)}, tmp_path / "swin.safetensors")
    result = read_released(tmp_path / "swin.safetensors")
    backbone = Backbone(result.shape.config()).eval()
    backbone.net.load_state_dict(result.backbone)
    torch.testing.assert_close(last_map(backbone), last_map(model.backbone), atol=1e-5, rtol=1e-5)
    assert result.skipped["classifier.weight"] == "the classifier, unused"
