"""An import is a run: every command takes its folder."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from foundationx.apps.cli.main import main
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import load_checkpoint, newest_checkpoint
from foundationx.weights.imports.imported import open_with_heads
from tests.helpers.released_files import ark, save

pytestmark = pytest.mark.shared

CARDS = ("chestx_det", "node21", "shenzhen", "kermany_mendeley")


@pytest.fixture(scope="module")
def folder(shared_data):
    folder = shared_data / "released"
    if not folder.is_dir():
        pytest.skip(f"files of released networks are absent: {folder}")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Generated images in the layouts of published datasets."""
    root = tmp_path_factory.mktemp("data")
    cards = [text for card in CARDS for text in ("--card", card)]
    assert main(["data", "phantoms", str(root), *cards, "--images", "40", "--size", "48"]) == 0
    return root


@pytest.fixture(scope="module")
def x_plus(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("imports") / "x_plus"
    assert main(["import", str(folder / "x_plus_tiny.pth"), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def ark_run(tmp_path_factory):
    """A small Ark+ with a projector, in the form of the released file, and its import."""
    root = tmp_path_factory.mktemp("ark")
    path = save({"teacher": ark()[1], "epoch": 3}, root / "ark.pth.tar")
    assert main(["import", str(path), "--out", str(root / "ark")]) == 0
    return root / "ark", path


def test_predict_gives_what_the_released_network_gave(x_plus, folder, tmp_path):
    """The golden image, as a file, through every head; its inputs were rounded to half precision."""
    inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("foundation_x_inputs", "x_plus_tiny_outputs")
    )
    Image.fromarray(inputs["image"][0, :, :, 0].numpy()).save(tmp_path / "chest.png")
    arguments = ["--out", str(tmp_path / "out"), "--threshold", "0"]
    assert main(["predict", str(x_plus), str(tmp_path / "chest.png"), *arguments]) == 0
    (result,) = (path for path in (tmp_path / "out").glob("chest*.json"))
    heads = json.loads(result.read_text())["heads"]
    assert len([key for key in heads if key.endswith("classification")]) == 11 and len(heads) == 20
    for card, title in (("chexpert", "CheXpert"), ("chestx_det", "ChestX-Det"), ("tbx11k", "TBX11K")):
        expected = outputs[f"classification/{title}/logits"][0].sigmoid()
        assert list(heads[f"{card}/classification"].values()) == pytest.approx(expected.tolist(), abs=2e-3)
    softmax = outputs["classification/RSNA/logits"][0].softmax(0)
    assert list(heads["rsna_pneumonia/classification"].values()) == pytest.approx(softmax.tolist(), abs=2e-3)
    boxes = heads["chestx_det/detection"]
    scores, labels = (outputs[f"detection/ChestX-Det/{name}"][0] for name in ("scores", "labels"))
    best = scores[(labels >= 1) & (labels <= 13)]
    assert [box["score"] for box in boxes[: len(best)]] == pytest.approx(best.tolist(), abs=2e-3)


@pytest.mark.slow
def test_own_heads_are_evaluated_on_one_dataset(x_plus, data, tmp_path, capsys):
    common = ["--data-root", str(data), "--split", "all", "--model", "teacher"]
    table = tmp_path / "m.json"
    assert main(["eval", str(x_plus), *common, "--card", "node21", "--json", str(table)]) == 0
    rows = json.loads(table.read_text())
    assert {(row["dataset"], row["task"]) for row in rows} == {("node21", "classification"), ("node21", "detection")}
    assert main(["eval", str(x_plus), *common, "--card", "node12"]) == 2
    assert "did you mean 'node21'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["backbone", "timm06", "mmdet"])
def test_export_takes_the_folder(target, x_plus, tmp_path):
    out = tmp_path / "exported"
    assert main(["export", str(x_plus), "--to", target, "--out", str(out)]) == 0
    assert out.is_file()


def test_protocols_use_projector_and_heads(ark_run, data, capsys):
    run, _ = ark_run
    common = ["--data-root", str(data), "--card"]
    assert main(["eval", str(run), "--protocol", "linear", *common, "shenzhen", "--with", "projected=True"]) == 0
    assert "features 10," in " ".join(capsys.readouterr().out.split())
    assert main(["eval", str(run), "--protocol", "ten-crop", *common, "shenzhen"]) == 0
    assert "resized to 73, crops of 64" in capsys.readouterr().out
    assert main(["eval", str(run), "--protocol", "zero-shot", *common, "node21", "--with", "images=all"]) == 0
    assert "Nodule: nih_chestxray14/classification, Nodule" in " ".join(capsys.readouterr().out.split())


def test_a_projector_that_is_not_there_is_refused(x_plus, data, capsys):
    common = ["--protocol", "linear", "--data-root", str(data), "--card", "shenzhen", "--with", "projected=True"]
    assert main(["eval", str(x_plus), *common]) == 2
    assert "the model has no projector" in capsys.readouterr().err


@pytest.mark.slow
def test_published_zero_shot_is_one_command_on_the_released_file(ark_run, data, tmp_path, capsys):
    run, path = ark_run
    common = ["--protocol", "zero-shot", "--data-root", str(data), "--with", "published=True", "--card"]
    for subject, name in ((path, "file"), (run, "folder")):
        out = ["--out", str(tmp_path / name)]
        assert main(["eval", str(subject), *common, "kermany_mendeley", *out]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Pneumonia: vindr_cxr_global/classification, Pneumonia" in printed
    assert "over 1000 resamples of" in printed and "seed 233" in printed
    written = [json.loads((tmp_path / name / "zero-shot.json").read_text()) for name in ("file", "folder")]
    assert written[0]["rows"] == written[1]["rows"] and written[0]["notes"] == written[1]["notes"]
    assert main(["eval", str(run), *common, "shenzhen"]) == 2
    assert "no zero-shot output was published for shenzhen" in capsys.readouterr().err


def config_of(run, tmp_path, cards, **more):
    """A configuration on the one that the import wrote."""
    lines = [f"_base_ = [{str(run / 'config.py')!r}]", f"datasets = {[{'card': card} for card in cards]}"]
    lines += ["schedule = dict(cycles=1, max_steps=1)", "evaluate = dict(every=0, final=[], examples=0)"]
    lines += ["runtime = dict(batch_size=2, workers=0, device='cpu')", *(f"{k} = {v!r}" for k, v in more.items())]
    path = tmp_path / "mine.py"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.slow
def test_training_starts_from_the_folder_with_all_its_heads(x_plus, data, tmp_path):
    config = config_of(x_plus, tmp_path, ["chestx_det", "shenzhen"])
    work = tmp_path / "work"
    still = ["optimizer.lr=1e-30", "optimizer.weight_decay=0.0"]
    arguments = ["--data-root", str(data), "--work-dir", str(work), "--cfg-options", *still]
    assert main(["train", str(config), *arguments]) == 0
    record = json.loads((work / "run.json").read_text())["begins_from"]
    assert len(record["loaded"]) == 4 and not record["initialised"] and not record["initialised_trunks"]
    before, after = load_checkpoint(x_plus), load_checkpoint(newest_checkpoint(work))
    moved = [
        n
        for n, value in after.student.items()
        if "running" not in n
        and not n.endswith("tracked")
        and not torch.allclose(value.float(), before.student[n].float(), atol=1e-6)
    ]
    assert not moved and len(after.student) > 300
    loss = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert any("denoising" in str(row) for row in loss)


@pytest.mark.slow
@pytest.mark.parametrize("card", ["shenzhen", "node21"])
def test_fine_tuning_starts_from_the_folder(card, ark_run, data, tmp_path):
    """A dataset with a head of its own, and one that the model has no head of."""
    out = tmp_path / "fine"
    options = ["--with", "epochs=1", "--data-root", str(data), "--out", str(out)]
    assert main(["eval", str(ark_run[0]), "--protocol", "finetune", "--card", card, *options]) == 0
    started = load_file(out / "pretrained.safetensors")
    assert torch.equal(started["norm3.weight"], load_checkpoint(ark_run[0]).teacher["backbone.net.norm3.weight"])


@pytest.mark.slow
def test_federated_training_starts_from_the_folder(ark_run, data, tmp_path):
    run, _ = ark_run
    config = config_of(run, tmp_path, ["shenzhen"])
    work = tmp_path / "work"
    clients = ["--client", "shenzhen"]
    arguments = ["--data-root", str(data), "--work-dir", str(work), "--cfg-options", "optimizer.lr=1e-30"]
    assert main(["federate", str(config), *clients, *arguments]) == 0
    before, after = load_checkpoint(run), load_checkpoint(newest_checkpoint(work))
    name = "trunks.classification.projector.0.weight"
    assert torch.allclose(before.student[name], after.student[name], atol=1e-6)


@pytest.mark.slow
def test_a_head_with_a_fixed_number_of_outputs_needs_its_own_classes(x_plus, data, tmp_path, capsys):
    """A card of the same name with other boxes does not get rows of other classes."""
    checkpoint = load_checkpoint(x_plus)
    key = TaskKey("tbx11k", Task.DETECTION)
    assert checkpoint.classes[key] == ("Tuberculosis",)
    config = config_of(x_plus, tmp_path, ["tbx11k"])
    assert main(["data", "phantoms", str(tmp_path / "tb"), "--card", "tbx11k", "--images", "12", "--size", "48"]) == 0
    arguments = ["--data-root", str(tmp_path / "tb"), "--work-dir", str(tmp_path / "work")]
    assert main(["train", str(config), *arguments]) == 2
    assert "no class in common" in capsys.readouterr().err


def test_without_an_image_size_no_run_is_written_and_it_is_said(folder, tmp_path, capsys):
    file = folder / "ark_plus_convnext_tiny.pth"
    assert main(["import", str(file), "--out", str(tmp_path / "a")]) == 0
    assert "name it with --image-size" in capsys.readouterr().out and not (tmp_path / "a/checkpoints").exists()
    with pytest.raises(CheckpointError, match="does not record its image size"):
        open_with_heads(file)
    assert main(["import", str(file), "--out", str(tmp_path / "b"), "--image-size", "224"]) == 0
    assert "is a run" in capsys.readouterr().out
    outputs = load_file(folder / "ark_plus_convnext_tiny_outputs.safetensors")
    images = load_file(folder / "ark_plus_convnext_tiny_inputs.safetensors")["image_224"].double() / 255
    config = load_checkpoint(tmp_path / "b").config.model
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    model = load_checkpoint(tmp_path / "b").model()
    with torch.no_grad():
        key = TaskKey("chexpert", Task.CLASSIFICATION)
        predicted = model.predict(((images - mean) / std).permute(0, 3, 1, 2).float(), key).probabilities
    np.testing.assert_allclose(predicted, outputs["logits_1_224"].sigmoid(), atol=1e-5)


def test_importing_a_checkpoint_of_ours_says_what_it_is(ark_run, tmp_path, capsys):
    run, _ = ark_run
    assert main(["import", str(newest_checkpoint(run)), "--out", str(tmp_path / "again")]) == 2
    assert "is a checkpoint of this project" in capsys.readouterr().err


def test_tables_of_predict_name_every_class(x_plus, tmp_path):
    Image.fromarray(np.full((60, 80), 90, np.uint8)).save(tmp_path / "a.png")
    arguments = ["--out", str(tmp_path / "out"), "--head", "vindr_cxr_global/classification", "--no-overlays"]
    assert main(["predict", str(x_plus), str(tmp_path / "a.png"), *arguments]) == 0
    (table,) = (tmp_path / "out").glob("*.csv")
    rows = list(csv.DictReader(table.open()))
    assert any("Tuberculosis" in str(row) for row in rows)
