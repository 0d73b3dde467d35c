"""The public Python API gives what the command line gives; importing the package stays quick."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import foundationx
from foundationx.apps.cli.main import main
from foundationx.apps.protocols.base import Request, Subject
from foundationx.apps.protocols.embedding import embed
from foundationx.core.errors import CardError, CheckpointError, ConfigError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.core.workdir import write_metrics
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.weights.imports.imported import write_imported
from foundationx.weights.imports.released import read_released
from tests.helpers.released_files import SIZE, ark, save

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "helpers" / "tiny_config.py"
CHANGES = {"schedule.cycles": 1, "evaluate.every": 0}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 12, size=96, processes=1)
    return folder


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "run"
    assert foundationx.train(TINY, phantoms, folder, changes=CHANGES) == folder
    return folder


@pytest.fixture(scope="module")
def images(phantoms):
    return sorted((phantoms / "phantom_labels" / "images").glob("*.png"))[:5]


def test_importing_the_package_imports_no_library():
    code = "import sys, foundationx; print([n for n in ('torch', 'numpy', 'mmengine', 'pydantic') if n in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_every_public_name_is_there_and_others_are_not():
    for name in foundationx.__all__:
        assert getattr(foundationx, name) is not None
        assert name in dir(foundationx)
        assert name.startswith("__") or getattr(foundationx, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        foundationx.lode  # noqa: B018


def test_training_writes_the_losses_of_the_command(run, phantoms, tmp_path):
    arguments = ["train", str(TINY), "--data-root", str(phantoms), "--work-dir", str(tmp_path / "run")]
    assert main([*arguments, "--cfg-options", *(f"{key}={value}" for key, value in CHANGES.items())]) == 0
    losses = [
        [json.loads(line)["losses"] for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (run, tmp_path / "run")
    ]
    assert losses[0] == losses[1] and losses[0]


def test_training_refuses_changes_without_a_file(phantoms, tmp_path):
    with pytest.raises(ConfigError, match="without a configuration file"):
        foundationx.train({"name": "x"}, phantoms, tmp_path, changes=CHANGES)
    with pytest.raises(ConfigError, match="unknown key"):
        foundationx.train({"nam": "x"}, phantoms, tmp_path)


def test_a_stopped_training_is_a_keyboard_interrupt(phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr("foundationx.apps.run.train.train", lambda *arguments, **options: False)
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        foundationx.train(TINY, phantoms, tmp_path / "run")


def test_predictions_and_plot_are_those_of_the_command(run, images, tmp_path):
    assert main(["predict", str(run), *map(str, images[:2]), "--out", str(tmp_path), "--threshold", "0.05"]) == 0
    model = foundationx.load(run)
    values = model.predict(images[:2], threshold=0.05)
    for image, result in zip(images, values, strict=False):
        assert result == json.loads((tmp_path / f"{image.name}.json").read_text())
    picture = np.asarray(model.plot(images[0], threshold=0.05))
    assert np.array_equal(picture, np.asarray(Image.open(tmp_path / f"{images[0].name}.overlay.png")))


def test_heads_are_named_and_chosen(run, images):
    model = foundationx.load(str(run), model="student")
    assert set(model.heads) == {
        "phantom_labels/classification",
        "phantom_boxes/detection",
        "phantom_masks/segmentation",
    }
    assert "Nodule" in model.heads["phantom_labels/classification"]
    (result,) = model.predict(str(images[0]), heads=["phantom_labels/classification"])
    assert result["model"] == "student" and set(result["heads"]) == {"phantom_labels/classification"}
    with pytest.raises(ConfigError, match="did you mean 'phantom_labels/classification'"):
        model.predict(images, heads=["phantom_label/classification"])


def test_features_are_those_that_protocols_probe(run, phantoms):
    subject = Subject(Request(run, "teacher", "phantom_labels", None, phantoms))
    expected = embed(subject, TaskKey("phantom_labels", Task.CLASSIFICATION), Split.TRAIN, projected=False)
    paths = [phantoms / "phantom_labels" / name for name in expected.images]
    features = foundationx.load(run).features(paths, batch_size=3)
    assert features.shape == expected.features.shape and features.dtype == np.float32
    np.testing.assert_allclose(features, expected.features, rtol=1e-4, atol=1e-5)
    assert len(np.unique(features.round(4), axis=0)) == len(paths), "images have features of their own"
    assert foundationx.load(run).features([]).shape == (0, features.shape[1])


def test_backbone_gives_feature_maps(run):
    backbone = foundationx.load_backbone(run)
    assert isinstance(backbone, torch.nn.Module) and not backbone.training
    maps = backbone(torch.zeros(1, 3, 64, 64))
    assert [result.shape[1] for result in maps] == list(backbone.channels)


def test_an_export_has_the_features_of_its_run_and_no_heads(run, images, tmp_path):
    target = tmp_path / "backbone.safetensors"
    assert main(["export", str(run), "--model", "student", "--out", str(target)]) == 0
    exported, student = foundationx.load(target), foundationx.load(run, model="student")
    assert exported.heads == {} and exported.predict(images[0])[0]["heads"] == {}
    assert np.array_equal(exported.features(images), student.features(images))
    assert not np.allclose(student.features(images), foundationx.load(run).features(images))


def test_an_import_predicts_with_its_heads(tmp_path):
    reference, tensors = ark()
    released = read_released(save({"teacher": tensors}, tmp_path / "ark.pth.tar"))
    write_imported(released, tmp_path / "ark.pth.tar", tmp_path / "ark")
    model = foundationx.load(tmp_path / "ark")
    assert model.heads == {f"{head.name}/classification": tuple(head.classes) for head in released.heads}
    grey = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)  # of the model's size: not resized
    Image.fromarray(grey).save(tmp_path / "image.png")
    (result,) = model.predict(tmp_path / "image.png")
    mean, std = (torch.tensor(part)[:, None, None] for part in (model.config.model.mean, model.config.model.std))
    with torch.no_grad():
        pooled = reference(((torch.from_numpy(grey) / 255 - mean) / std)[None])
    feature = pooled @ tensors["projector.weight"].T + tensors["projector.bias"]
    assert len(released.heads) == 6
    for head in released.heads:
        logits = feature @ head.weight.T + head.bias
        expected = logits.softmax(-1) if head.exclusive else logits.sigmoid()
        shown = list(result["heads"][f"{head.name}/classification"].values())
        np.testing.assert_allclose(shown, expected[0].numpy(), atol=1e-3)


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        foundationx.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        foundationx.load(tmp_path / "absent.pt")


def test_evaluation_gives_the_rows_of_the_command(run, phantoms, tmp_path):
    target = tmp_path / "rows.json"
    assert main(["eval", str(run), "--data-root", str(phantoms), "--split", "test", "--json", str(target)]) == 0
    rows = foundationx.evaluate(run, phantoms, split="test")
    write_metrics(tmp_path / "own.json", rows)
    assert json.loads((tmp_path / "own.json").read_text()) == json.loads(target.read_text())
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        foundationx.evaluate(run, phantoms, split="tset")


def test_a_card_is_a_torch_dataset(phantoms):
    assert "phantom_boxes" in foundationx.Catalog().names()
    sizes = {}
    for split in ("train", "val", "test"):
        data = foundationx.open_dataset("phantom_labels", phantoms, task="classification", split=split, image_size=64)
        sizes[split] = len(data)
    assert sum(sizes.values()) == 12 and sizes["train"] > sizes["val"]
    data = foundationx.open_dataset("phantom_masks", phantoms, image_size=64)
    assert data.key == TaskKey("phantom_masks", Task.SEGMENTATION)
    batch = next(iter(DataLoader(data, batch_size=3, collate_fn=data.collate)))
    assert batch.images.shape == (3, 1, 64, 64) and batch.masks.shape == (3, len(data.classes), 64, 64)
    assert torch.equal(batch.images[1, 0], torch.from_numpy(data[1].image))


def test_a_dataset_that_cannot_be_opened_is_named(phantoms):
    with pytest.raises(CardError, match="did you mean 'phantom_boxes'"):
        foundationx.open_dataset("phantom_boxs", phantoms)
    with pytest.raises(ConfigError, match="known: classification, detection"):
        foundationx.open_dataset("phantom_all", phantoms)
    with pytest.raises(ConfigError, match="train, val or test"):
        foundationx.open_dataset("phantom_masks", phantoms, split="training")
    with pytest.raises(ConfigError, match="image_size"):
        foundationx.open_dataset("phantom_masks", phantoms, image_size=65)


def test_the_lines_of_the_readme_give_features(run, images, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    (lines,) = [block for block in blocks if "foundationx.load(" in block]
    assert len(lines.split("\n")) - lines.count("\n\n") - 1 == 4
    (tmp_path / "work_dirs" / "demo").mkdir(parents=True)
    (tmp_path / "work_dirs" / "demo" / "run").symlink_to(run)
    (tmp_path / "images").symlink_to(images[0].parent)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(lines, "README.md", "exec"), names)
    expected = foundationx.load(run).features(sorted(images[0].parent.glob("*.png")))
    assert np.array_equal(names["features"], expected)
