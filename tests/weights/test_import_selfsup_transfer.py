"""From a released self-supervised file to a run and to protocols, as a user goes; and every kind of backbone learns."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from foundationx.apps.cli.main import main
from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.weights.imports.imported import open_subject
from tests.helpers.plain_swin import as_built_by
from tests.helpers.released_files import SIZE, save
from tests.helpers.selfsup_released import FILES, networks
from tests.helpers.selfsup_tiny import tiny_selfsup

IMAGES = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(10))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 40, size=64, seed=0, processes=1)
    return folder


@pytest.fixture(scope="module")
def plain():
    return networks()


@pytest.fixture(scope="module")
def imported(plain, tmp_path_factory):
    """Name -> the folder that the command wrote."""
    folders = {}
    for name in ("adam", "adam_v2 convnext", "ace vit", "lamps"):
        wrap, network = FILES[name]
        folders[name] = tmp_path_factory.mktemp("import")
        path = save(wrap(plain[network][1]), folders[name] / "released.pth")
        assert main(["import", str(path), "--out", str(folders[name]), "--image-size", "64"]) == 0
    return folders


def judge(folder, data, out, protocol, *options):
    """The rows of a protocol, by the command."""
    reported = ["eval", str(folder), "--protocol", protocol, "--card", "phantom_labels", "--data-root", str(data)]
    more = ["--with", *options] if options else []
    assert main([*reported, "--out", str(out), *more]) == 0
    return json.loads((out / f"{protocol}.json").read_text())["rows"]


@pytest.mark.parametrize("name", ["adam", "adam_v2 convnext", "ace vit", "lamps"])
def test_linear_probes_start_from_the_source_network(name, imported, plain, data, tmp_path):
    subject = open_subject(imported[name], "phantom_labels").model("teacher")
    with torch.no_grad():
        pooled = subject(IMAGES)[-1].mean((2, 3))
    torch.testing.assert_close(pooled, as_built_by(name, plain[FILES[name][1]][0])(IMAGES), atol=1e-5, rtol=1e-5)
    rows = judge(imported[name], data, tmp_path / "linear", "linear")
    assert any(row["class"] == "mean" and 0 <= float(row["value"]) <= 1 for row in rows)


def test_few_shots_start_from_the_file_of_an_import(imported, data, tmp_path):
    rows = judge(imported["adam"] / "backbone.safetensors", data, tmp_path, "few-shot", "shots=[4,8]", "draws=2")
    assert [int(row["images"]) for row in rows] == [4, 8]


@pytest.mark.parametrize("name", ["adam_v2 convnext", pytest.param("lamps", marks=pytest.mark.slow)])
def test_fine_tuning_starts_from_the_released_weights_and_trains_them(name, imported, data, tmp_path):
    judge(imported[name], data, tmp_path, "finetune", "epochs=1", "lr=1e-3")
    start = load_file(imported[name] / "backbone.safetensors")
    begun = load_file(tmp_path / "pretrained.safetensors")
    assert start.keys() == begun.keys() and all(torch.equal(value, begun[key]) for key, value in start.items())
    ended = load_checkpoint(tmp_path).student
    moved = [key for key, value in start.items() if not torch.equal(value, ended[f"backbone.net.{key}"])]
    assert len(moved) > len(start) // 2


def test_a_run_starts_from_an_import(imported, data):
    facts = json.loads((imported["lamps"] / "import.json").read_text())
    model = {"model.init": imported["lamps"] / "backbone.safetensors", "image_size": SIZE}
    config = tiny_selfsup("lamps", model__backbone={"_delete_": True, **facts["backbone"]}, **model)
    net = build_model(config, open_datasets(config, data), "cpu").backbone.net
    stored = load_file(imported["lamps"] / "backbone.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in net.state_dict().items())


def test_protocols_that_an_import_does_not_support_are_reported(imported, plain, data, tmp_path, capsys):
    wrap, network = FILES["adam"]
    path = save(wrap(plain[network][1]), tmp_path / "released.pth")
    assert main(["import", str(path), "--out", str(tmp_path / "import")]) == 0
    command = ["--card", "phantom_labels", "--data-root", str(data), "--protocol"]
    assert main(["eval", str(tmp_path / "import"), *command, "linear"]) == 2
    assert "--image-size (224 for Adam)" in capsys.readouterr().err
    assert main(["eval", str(imported["adam"]), *command, "zero-shot"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    torn = shutil.copytree(imported["adam"], tmp_path / "torn") / "backbone.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    assert main(["eval", str(torn.parent), *command, "linear"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    again = ["import", str(path), "--out", str(tmp_path / "x"), "--image-size", "100"]
    assert main(again) == 2 and "a multiple of 32" in capsys.readouterr().err


BACKBONES = {
    "swin": {"type": "mmdet.PublishedSwin", "embed_dims": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
    | {"window_size": 2},
    "resnet": {"type": "mmdet.ResNet", "depth": 18, "base_channels": 4},
    "convnext": {"type": "mmdet.ConvNeXt", "depths": (1, 1, 2, 1), "dims": (8, 8, 16, 16), "drop_path_rate": 0.1},
    "vit": {"type": "mmseg.VisionTransformer", "img_size": (64, 64), "patch_size": 16, "embed_dims": 8}
    | {"num_layers": 3, "num_heads": 2, "mlp_ratio": 2, "out_indices": (0, 1, 2), "final_norm": True},
}


@pytest.mark.parametrize("objective", ["peac", "adam_v2"])
@pytest.mark.parametrize("kind", BACKBONES)
def test_every_kind_of_backbone_is_finetuned(kind, objective, data, tmp_path):
    """Of the backbone only the norms of inner stages rest, whose maps self-supervision does not look at."""
    config = tiny_selfsup(objective, model__backbone={"_delete_": True, **BACKBONES[kind]}, schedule__max_steps=2)
    data_module = open_datasets(config, data)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert Trainer(
        config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), tmp_path
    ).train()
    silent = {name for name, value in model.named_parameters() if torch.equal(before[name], value)}
    inner = {f"backbone.net.norm{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    assert silent == (inner if kind in ("swin", "convnext") else set()), silent
