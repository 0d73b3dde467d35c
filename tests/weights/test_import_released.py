"""Released weights: features equal to a plain Swin's, every tensor accounted for, names of outputs corrected."""

import argparse
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from foundationx.apps.cli.main import main
from foundationx.apps.run.train import build_model
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.types import Task, TaskKey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.models.backbone import Backbone
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.imported import check_classes, load_heads, write_imported
from foundationx.weights.imports.released import CLASSES, EXCLUSIVE, convert, read_released
from tests.helpers.plain_swin import PlainSwin
from tests.helpers.released_files import SIZE, TINY, WIDTH, ark, foundation_x, save, swin

IMAGES = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(8))


def wrapped(tensors, **more):
    """The wrapper of Ark's training: other weights beside the teacher's, and what is no weight."""
    student = {name: value + 1 if value.is_floating_point() else value for name, value in tensors.items()}
    return {"epoch": 50, "lossMIN": [0.5, np.float64(0.25)], "state_dict": student, "teacher": tensors} | more


FILES = {
    "ark_flat": lambda: (ark(hidden=True), lambda tensors: tensors, "ark"),
    "ark_wrapped": lambda: (ark(), wrapped, "ark"),
    "ark_module": lambda: (ark(), lambda t: wrapped({f"module.{name}": value for name, value in t.items()}), "ark"),
    "ark_five": lambda: (ark(outputs=(14, 14, 3, 6, 1), projector=None), wrapped, "ark"),
    "x": lambda: (
        foundation_x(),
        lambda t: {"model": {"a": t["backbone.0.norm.weight"]}, "teacher_model": t, "epoch": 3},
        "x",
    ),
}
KINDS = {"ark": "ark", "x": "foundation_x"}


@pytest.fixture(params=FILES)
def released(request, tmp_path):
    """(reference, tensors of the file, the file, its kind)."""
    (reference, tensors), wrap, kind = FILES[request.param]()
    return reference, tensors, save(wrap(tensors), tmp_path / "released.pth.tar"), KINDS[kind]


def test_imported_backbone_gives_the_features_of_a_plain_swin(released, tmp_path):
    reference, _, path, kind = released
    result = read_released(path)
    assert result.kind == kind
    write_imported(result, path, tmp_path / "out")
    with safe_open(tmp_path / "out/backbone.safetensors", framework="pt") as stored:
        config = json.loads(stored.metadata()["backbone"])
    backbone = Backbone(config).eval()
    load_backbone(backbone.net, tmp_path / "out/backbone.safetensors")
    reference.always_shift = kind != "ark"
    with torch.no_grad():
        pooled = backbone(IMAGES)[-1].mean((2, 3))
    torch.testing.assert_close(pooled, reference(IMAGES), atol=1e-5, rtol=1e-5)


def test_every_tensor_is_loaded_or_skipped_for_a_reason(released):
    _, tensors, path, _ = released
    result = read_released(path)
    of_file = {name for name in result.skipped if name in tensors}
    assert result.loaded.keys() | of_file == tensors.keys() and not result.loaded.keys() & of_file
    assert all(result.skipped.values()) and all(result.initialised.values())
    names = [name for here in result.loaded.values() for name in here.split(", ")]
    backbone = {name for name in names if not name.startswith(("heads.", "projector.", "trunks."))}
    assert backbone | result.initialised.keys() == result.backbone.keys()


def test_measures_are_read_off_the_shapes(released):
    _, _, path, kind = released
    result = read_released(path)
    measures = (result.shape.embed_dims, result.shape.depths, result.shape.num_heads, result.shape.window_size)
    assert measures == (TINY["dim"], TINY["depths"], TINY["heads"], TINY["window"])
    assert result.shape.mlp_ratio == TINY["ratio"]
    assert result.image_size == (SIZE if kind == "ark" else None)  # Foundation X stores no masks
    assert result.mean[0] == (0.485 if kind == "ark" else 0.5056)


def test_foundation_x_keeps_the_norms_of_the_detector_inside_and_that_of_classification_last():
    _, tensors = foundation_x()
    result = convert(tensors, "x")
    for ours, theirs in (("norm1", "Locnorm1"), ("norm2", "Locnorm2"), ("norm3", "norm")):
        assert torch.equal(result.backbone[f"{ours}.weight"], tensors[f"backbone.0.{theirs}.weight"])
    assert (
        torch.equal(result.backbone["norm0.weight"], torch.ones(TINY["dim"])) and "norm0.weight" in result.initialised
    )


def test_heads_bear_corrected_names(tmp_path):
    result = read_released(save(ark(hidden=True)[1], tmp_path / "ark6.pth.tar"))
    heads = {head.name: head for head in result.heads}
    assert [head.name for head in result.heads] == [
        "mimic_cxr_jpg",
        "chexpert",
        "nih_chestxray14",
        "rsna_pneumonia",
        "vindr_cxr_global",
        "shenzhen",
    ]
    # alphabetical, docs/methods/ark.md, "4.2 Names of the released outputs"
    assert heads["mimic_cxr_jpg"].classes == tuple(sorted(heads["chexpert"].classes))
    # docs/methods/ark.md, "4.2 Names of the released outputs"
    assert heads["rsna_pneumonia"].classes[0] == "Normal" and heads["rsna_pneumonia"].exclusive
    assert set(result.projector) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    names = [head.name for head in convert(foundation_x()[1], "x").heads]
    assert names.index("chexpert") == 6 and names.index("mimic_cxr_jpg") == 10 and names[4] == "chestx_det"


def test_names_of_outputs_are_those_of_the_cards():
    """But for TBX11K, whose released head has one output where the card has three classes."""
    catalog = Catalog()
    for name in CLASSES.keys() - {"tbx11k"}:
        card = catalog.card(name).tasks[Task.CLASSIFICATION]
        assert tuple(item.name for item in card.classes) == CLASSES[name], name
    assert set(EXCLUSIVE) <= set(CLASSES)


@pytest.mark.parametrize("hidden", [False, True])
def test_heads_answer_as_the_released_layers_do(hidden, tmp_path):
    """Backbone, projector and heads in a model of ours, against the layers put together by hand."""
    reference, tensors = ark(hidden=hidden)
    path = save(tensors, tmp_path / "ark.pth.tar")
    result = read_released(path)
    write_imported(result, path, tmp_path / "out")
    keys = {name: TaskKey(name, Task.CLASSIFICATION) for name in ("chexpert", "rsna_pneumonia")}
    config = ModelConfig(backbone=result.shape.config(), projector={"features": 10, "hidden": hidden})
    model = FoundationModel(config, {key: CLASSES[name] for name, key in keys.items()}).eval()
    load_backbone(model.backbone.net, tmp_path / "out/backbone.safetensors")
    load_heads(model, tmp_path / "out/heads.safetensors", {str(key): name for name, key in keys.items()})
    feature = reference(IMAGES)
    for name in ("projector.0", "projector.2") if hidden else ("projector",):
        feature = feature @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
        feature = feature.relu() if name == "projector.0" else feature
    for number, name in ((1, "chexpert"), (3, "rsna_pneumonia")):
        logits = feature @ tensors[f"omni_heads.{number}.weight"].T + tensors[f"omni_heads.{number}.bias"]
        with torch.no_grad():
            ours = model.predict(IMAGES, keys[name]).probabilities
        torch.testing.assert_close(ours, logits.sigmoid(), atol=1e-5, rtol=1e-5)


def test_a_head_is_not_loaded_under_other_or_permuted_names(tmp_path):
    path = save(ark()[1], tmp_path / "ark.pth.tar")
    result = read_released(path)
    write_imported(result, path, tmp_path)
    key = TaskKey("mine", Task.CLASSIFICATION)
    config = ModelConfig(backbone=result.shape.config(), projector={"features": 10})

    def start(classes, name="mimic_cxr_jpg", config=config):
        load_heads(FoundationModel(config, {key: classes}), tmp_path / "heads.safetensors", {str(key): name})

    start(CLASSES["mimic_cxr_jpg"])
    with pytest.raises(CheckpointError, match=r"another order: output 0 is 'Atelectasis', the card's 'No Finding'"):
        start(CLASSES["chexpert"])
    with pytest.raises(CheckpointError, match="lacks Hernia and additionally has Cyst"):
        start((*CLASSES["nih_chestxray14"][:-1], "Cyst"), "nih_chestxray14")
    with pytest.raises(CheckpointError, match="did you mean 'mimic_cxr_jpg'"):
        start(CLASSES["mimic_cxr_jpg"], "mimic_cxr")
    with pytest.raises(CheckpointError, match=r"model.projector=dict\(features=10, hidden=False\)"):
        start(CLASSES["mimic_cxr_jpg"], config=ModelConfig(backbone=result.shape.config()))


def test_a_run_starts_from_imported_backbone_projector_and_heads(tmp_path):
    """``model.init`` and ``model.init_heads`` of a configuration."""
    tensors = ark()[1]
    path = save(tensors, tmp_path / "ark.pth.tar")
    result = read_released(path)
    write_imported(result, path, tmp_path / "out")
    key = TaskKey("shenzhen", Task.CLASSIFICATION)
    config = RunConfig(
        name="start",
        image_size=SIZE,
        model={
            "backbone": result.shape.config(),
            "projector": {"features": 10},
            "init": tmp_path / "out/backbone.safetensors",
            "init_heads": {"shenzhen/classification": "shenzhen"},
        },
        datasets=[{"card": "shenzhen"}],
        schedule={"cycles": 1},
    )
    data_module = SimpleNamespace(classes={key: CLASSES["shenzhen"]}, annotations={})
    model = build_model(config, data_module, "cpu")
    assert torch.equal(model.head(key).classifier.weight, tensors["omni_heads.5.weight"])
    assert torch.equal(model.trunks["classification"].projector[0].weight, tensors["projector.weight"])
    assert torch.equal(model.backbone.net.norm3.weight, tensors["norm.weight"])
    without = config.model_copy(update={"model": config.model.model_copy(update={"init": None})})
    with pytest.raises(ConfigError, match=r"model.init is not"):
        build_model(without, data_module, "cpu")


def test_check_of_names_passes_equal_ones_only():
    check_classes(("a", "b"), ("a", "b"), "here")
    with pytest.raises(CheckpointError):
        check_classes(("a", "b"), ("b", "a"), "here")


def test_later_timm_names_are_loaded_too(tmp_path):
    reference = PlainSwin(**TINY, merge_first=True).eval()
    save_file({name: value.contiguous() for name, value in reference.state_dict().items()}, tmp_path / "b.safetensors")
    result = read_released(tmp_path / "b.safetensors")
    assert result.kind == "swin" and not result.heads
    backbone = Backbone(result.shape.config()).eval()
    backbone.net.load_state_dict(result.backbone)
    with torch.no_grad():
        torch.testing.assert_close(backbone(IMAGES)[-1].mean((2, 3)), reference(IMAGES), atol=1e-5, rtol=1e-5)


def test_options_and_numbers_beside_the_weights_are_read_without_running_code(tmp_path):
    more = {"args": argparse.Namespace(lr=0.3), "best": np.float32(0.5), "scheduler": {"t": np.int64(3)}}
    result = read_released(save(wrapped(ark()[1], **more), tmp_path / "a.pth.tar"))
    assert result.skipped["args"] == result.skipped["scheduler"] == "not weights"
    assert result.skipped["state_dict"].startswith("other weights") and result.entry == "teacher"


def test_the_student_is_loaded_if_asked(tmp_path):
    tensors = ark()[1]
    result = read_released(save(wrapped(tensors), tmp_path / "a.pth.tar"), entry="state_dict")
    assert torch.equal(result.heads[0].bias, tensors["omni_heads.0.bias"] + 1)


def test_command_writes_and_reports_what_it_did(tmp_path, capsys):
    path = save(wrapped(ark()[1]), tmp_path / "ark.pth.tar")
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 0
    reported = capsys.readouterr().out
    assert (
        "ImageNet's classifier, unused" in reported and "image size: 64 pixels" in reported and "window 2" in reported
    )
    table = json.loads((tmp_path / "out/import.json").read_text())
    statuses = [line["status"] for line in table["tensors"]]
    assert {"loaded", "skipped", "initialised"} == set(statuses) and table["heads"][3]["classes"][2] == "Lung Opacity"
    heads = load_file(tmp_path / "out/heads.safetensors")
    assert heads["projector.0.weight"].shape == (10, WIDTH) and heads["heads.shenzhen.bias"].shape == (1,)
    assert main(["import", str(path), "--out", str(tmp_path / "bare"), "--heads", "none"]) == 0
    assert set(load_file(tmp_path / "bare/heads.safetensors")) == {"projector.0.weight", "projector.0.bias"}
    assert main(["import", str(path), "--out", str(tmp_path / "x"), "--kind", "foundation_x"]) == 2
    assert "holds ark weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dim", "heads", "window", "size", "masks", "parameters"),
    [
        (128, (4, 8, 16, 32), 7, 224, 11, 86_743_224),  # Ark, Foundation X
        (192, (6, 12, 24, 48), 12, 384, 11, 195_198_516),  # Swin-L as initialised
        (192, (6, 12, 24, 48), 12, 768, 12, 195_198_516),  # Ark+, Foundation X+
    ],
)
def test_real_sizes_have_the_published_number_of_parameters(dim, heads, window, size, masks, parameters):
    """On the meta device: no number is drawn. Counts of ``docs/methods/ark.md``, "1.1 Backbone"."""
    with torch.device("meta"):
        reference = PlainSwin(dim, (2, 2, 18, 2), heads, window)
        tensors = {name: value.to("meta") for name, value in swin(reference, window, size).items()}
    assert sum("attn_mask" in name for name in tensors) == masks
    result = convert(tensors, "meta")
    assert sum(tensors[name].numel() for name in result.loaded) == parameters
    assert (result.shape.window_size, result.image_size, result.shape.mlp_ratio) == (window, size, 4)
    assert result.shape.shapes() == {name: tuple(value.shape) for name, value in result.backbone.items()}
