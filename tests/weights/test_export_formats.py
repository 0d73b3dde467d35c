"""Exported backbones, loaded under the names of other libraries, give the features of our own network."""

import importlib
import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from mmengine.config import ConfigDict
from safetensors import safe_open
from safetensors.torch import load_file

from foundationx.apps.cli.main import main
from foundationx.core import openmmlab
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.models.backbone import Backbone
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.exports.formats import FORMATS, Source
from foundationx.weights.exports.onnx import NEEDED
from foundationx.weights.swin import shift_rule
from tests.helpers.plain_swin import PlainSwin, randomise

pytestmark = pytest.mark.slow

SIZE = 64
"""Maps of 16, 8, 4 and 2 tokens: windows of 2 are many in the first three stages and one in the last."""
SWIN = {"dim": 24, "depths": (2, 2, 2, 2), "heads": (1, 2, 2, 4), "window": 2, "ratio": 2}


def swin(kind: str) -> dict:
    return {
        "type": kind,
        "embed_dims": SWIN["dim"],
        "depths": SWIN["depths"],
        "num_heads": SWIN["heads"],
        "window_size": SWIN["window"],
        "mlp_ratio": SWIN["ratio"],
        "out_indices": (0, 1, 2, 3),
    }


def build(backbone: dict) -> tuple[FoundationModel, RunConfig]:
    config = RunConfig(
        name="tiny",
        image_size=SIZE,
        model=ModelConfig(backbone=backbone),
        datasets=[{"card": "phantom_labels"}],
        schedule={"cycles": 1},
    )
    return randomise(FoundationModel(config.model, {}), seed=1), config


@pytest.fixture(scope="module", params=["mmdet.SwinTransformer", "mmdet.PublishedSwin"])
def trained(request):
    return build(swin(request.param))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def pooled(model, images):
    with torch.no_grad():
        return model.backbone(images)[-1].mean((2, 3))


def write(name, trained, path):
    model, config = trained
    return FORMATS.get(name).write(Source(model, config, "teacher"), path)


def test_only_the_last_stage_distinguishes_the_two_rules_of_shifting(images):
    """Same weights: equal where maps are larger than the window, different where one window covers the map."""
    always, published = build(swin("mmdet.SwinTransformer"))[0], build(swin("mmdet.PublishedSwin"))[0]
    assert always.state_dict().keys() == published.state_dict().keys()
    published.load_state_dict(always.state_dict())
    with torch.no_grad():
        maps = zip(always.backbone(images), published.backbone(images), strict=True)
    gaps = [float((one - other).abs().max()) for one, other in maps]
    assert gaps[:3] == [0, 0, 0] and gaps[3] > 0.1


@pytest.mark.parametrize("name", ["timm", "timm06"])
def test_timm_names_fit_strictly_and_give_equal_features(name, trained, images, tmp_path):
    path = tmp_path / ("b" if name == "timm" else "b.safetensors")
    use = write(name, trained, path)
    always = shift_rule(trained[0].backbone.net) == "always"
    reference = PlainSwin(**SWIN, merge_first=name == "timm", always_shift=always).eval()
    tensors = load_file(path / "model.safetensors" if name == "timm" else path)
    indices = [key for key in tensors if key.endswith("relative_position_index")]
    assert bool(indices) == (name == "timm06")  # timm 0.6 stores them, later versions do not
    reference.load_state_dict({key: value for key, value in tensors.items() if key not in indices}, strict=True)
    torch.testing.assert_close(reference(images), pooled(trained[0], images), atol=1e-5, rtol=1e-5)
    assert ("always_partition=True" in use) == (always and name == "timm")


def timm_name(hugging_face: str) -> str:
    """Hugging Face's published Swin names, turned into timm's: written here a second time, part by part."""
    name = hugging_face.replace("encoder.layers", "layers")
    for theirs, timm in (
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.norm", "patch_embed.norm"),
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
        ("attention.output.dense", "attn.proj"),
        ("attention.self", "attn"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
        ("layernorm", "norm"),
    ):
        name = name.replace(theirs, timm)
    return name


def test_hugging_face_folder_holds_names_measures_and_equal_features(trained, images, tmp_path):
    model, config = trained
    write("huggingface", trained, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    norms = {key: stored.pop(key) for key in list(stored) if key.startswith("hidden_states_norms.")}
    split = {key: stored.pop(key) for key in list(stored) if any(f".{p}." in key for p in ("query", "key", "value"))}
    for base in {key.rsplit(".", 2)[0] for key in split}:
        for kind in ("weight", "bias"):
            parts = [split.pop(f"{base}.{part}.{kind}") for part in ("query", "key", "value")]
            stored[f"{base}.qkv.{kind}"] = torch.cat(parts)
    assert not split
    always = shift_rule(model.backbone.net) == "always"
    reference = PlainSwin(**SWIN, always_shift=always).eval()
    plain = {timm_name(key): value for key, value in stored.items() if not key.endswith("relative_position_index")}
    reference.load_state_dict(plain, strict=True)
    with torch.no_grad():
        for i, (ours, theirs) in enumerate(zip(model.backbone(images), reference.stages(images), strict=True)):
            weight, bias = (norms[f"hidden_states_norms.stage{i + 1}.{kind}"] for kind in ("weight", "bias"))
            normed = torch.nn.functional.layer_norm(theirs, theirs.shape[-1:], weight, bias)
            torch.testing.assert_close(normed.permute(0, 3, 1, 2), ours, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reference(images), pooled(model, images), atol=1e-5, rtol=1e-5)
    network = json.loads((tmp_path / "config.json").read_text())
    assert network["architectures"] == ["ShiftedSwinModel" if always else "SwinModel"]
    assert ("auto_map" in network) == always, "AutoModel refuses what SwinModel would compute otherwise"
    measures = [network[key] for key in ("embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "hidden_size")]
    assert measures == [24, [2, 2, 2, 2], [1, 2, 2, 4], 2, 2.0, 192]
    pixels = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert pixels["image_mean"] == list(config.model.mean) and pixels["size"] == {"height": SIZE, "width": SIZE}


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_openmmlab_loads_its_checkpoint_as_pretrained(library, trained, images, tmp_path):
    """Through the library's own loading, which is silent about what does not fit: features must be equal."""
    model, _ = trained
    write(library, trained, tmp_path / "b.pth")
    always = shift_rule(model.backbone.net) == "always"
    backbone = swin(f"{library}.SwinTransformer" if always else "mmdet.PublishedSwin")
    net = openmmlab.build_mm(backbone | {"init_cfg": ConfigDict(type="Pretrained", checkpoint=str(tmp_path / "b.pth"))})
    with openmmlab.quiet():
        net.init_weights()
    net.eval()
    with torch.no_grad():
        for ours, theirs in zip(model.backbone(images), net(images), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_other_backbones_go_to_openmmlab_but_not_under_swin_names(tmp_path):
    resnet = build({"type": "mmdet.ResNet", "depth": 18})
    small = torch.randn(1, 3, 64, 64)
    use = write("mmdet", resnet, tmp_path / "b.pth")
    pretrained = {"type": "Pretrained", "checkpoint": str(tmp_path / "b.pth"), "prefix": "backbone."}
    assert "prefix='backbone.'" in use
    net = openmmlab.build_mm({"type": "mmdet.ResNet", "depth": 18, "init_cfg": pretrained})
    with openmmlab.quiet():
        net.init_weights()
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(small)[-1], resnet[0].backbone(small)[-1])
    for name in ("timm", "timm06", "huggingface"):
        with pytest.raises(ConfigError, match="a Swin"):
            write(name, resnet, tmp_path / "x")
    with pytest.raises(ConfigError, match="backbone of mmseg"):
        write("mmseg", resnet, tmp_path / "x")


@pytest.mark.parametrize("kind", ["mmdet.SwinTransformer", pytest.param("mmdet.PublishedSwin", marks=pytest.mark.slow)])
def test_program_runs_without_this_project(kind, images, tmp_path):
    short = {"depths": (1, 1, 2), "num_heads": (1, 2, 2), "out_indices": (0, 1, 2), "window_size": 4}
    trained = build(swin(kind) | short)
    write("torch-export", trained, tmp_path / "b.pt2")
    torch.save(images, tmp_path / "images.pt")
    script = (
        "import sys, torch; images = torch.load('images.pt')\n"
        "net = torch.export.load('b.pt2').module(); results = net(images), net(images[:1])\n"
        "assert not any(name.split('.')[0] in ('mmengine', 'mmcv', 'mmdet', 'foundationx') for name in sys.modules)\n"
        "torch.save(results, 'results.pt')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    both, one = torch.load(tmp_path / "results.pt")
    with torch.no_grad():
        ours = trained[0].backbone(images)
    for stage, theirs, first in zip(ours, both, one, strict=True):
        torch.testing.assert_close(stage, theirs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(first, theirs[:1], atol=1e-5, rtol=1e-5)


def test_onnx_graph_gives_equal_features_or_names_the_extra(trained, images, tmp_path):
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        with pytest.raises(ConfigError, match="extra 'onnx'"):
            write("onnx", trained, tmp_path / "b.onnx")
        return
    write("onnx", trained, tmp_path / "b.onnx")
    graph = importlib.import_module("onnx.reference").ReferenceEvaluator(str(tmp_path / "b.onnx"))
    with torch.no_grad():
        ours = trained[0].backbone(images)
    for stage, theirs in zip(ours, graph.run(None, {"images": images.numpy()}), strict=True):
        torch.testing.assert_close(stage, torch.from_numpy(theirs), atol=1e-4, rtol=1e-4)


def test_weights_are_not_loaded_under_the_other_rule_of_shifting(trained, tmp_path):
    write("backbone", trained, tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", framework="pt") as stored:
        rule = stored.metadata()["shift"]
    own, other = ("SwinTransformer", "PublishedSwin") if rule == "always" else ("PublishedSwin", "SwinTransformer")
    load_backbone(Backbone(swin(f"mmdet.{own}")).net, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=f"mmdet.{own}"):
        load_backbone(Backbone(swin(f"mmdet.{other}")).net, tmp_path / "b.safetensors")


def test_absolute_positions_are_refused_not_dropped(tmp_path):
    positioned = build(swin("mmdet.SwinTransformer") | {"use_abs_pos_embed": True, "pretrain_img_size": SIZE})
    with pytest.raises(CheckpointError, match="unexpected: absolute_pos_embed"):
        write("timm", positioned, tmp_path / "b.safetensors")


def test_a_last_map_below_one_window_is_refused_where_it_would_shrink_the_window(tmp_path):
    narrow = build(swin("mmdet.PublishedSwin") | {"window_size": 4})
    for name in ("timm", "timm06", "huggingface"):
        with pytest.raises(ConfigError, match="2 tokens wide at 64 pixels, the window 4"):
            write(name, narrow, tmp_path / "b")


def test_command_names_formats_and_refuses_others(tmp_path, capsys):
    assert main(["export", "any", "--to", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("timm", "huggingface", "mmdet", "mmseg", "onnx", "torch-export", "backbone"))
    assert main(["export", "any", "--to", "tim"]) == 2
    assert "did you mean 'timm'?" in capsys.readouterr().err


def test_command_exports_a_checkpoint(trained, tmp_path, capsys):
    model, config = trained
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    whole = {
        "config": config,
        "model": model,
        "teacher": model,
        "optimizer": optimizer.state_dict(),
        "step": 1,
        "visit": 1,
    }
    save_checkpoint(tmp_path / "checkpoints", progress={}, **whole)
    assert main(["export", str(tmp_path), "--to", "timm", "--out", str(tmp_path / "b")]) == 0
    assert "SwinTransformer(img_size=64, embed_dim=24" in capsys.readouterr().out
    stored = load_file(tmp_path / "b/model.safetensors")
    assert torch.equal(stored["norm.weight"], model.backbone.net.norm3.weight)
