"""``foundationx predict`` on folders, archives, lists, equal names and broken files, and a second call."""

import csv
import json
import re
import shutil
import zipfile

import cv2
import numpy as np
import pydicom
import pytest
from bench_predict import dicom
from pycocotools import mask as rle

from foundationx.apps.cli.main import FAULT, main
from foundationx.apps.run.dicom_results import write_dicom
from foundationx.apps.run.image_sources import find_images
from foundationx.core.config.load import load_config
from foundationx.core.errors import DataError
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.models.foundation_model import FoundationModel
from tests.apps.test_cli import TINY

HEADS = {
    TaskKey("a", Task.CLASSIFICATION): ("mass", "=nodule"),
    TaskKey("b", Task.DETECTION): ("mass",),
    TaskKey("c", Task("keypoints")): ("Lung/apex", "Lung/base", "carina"),
}


def write(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60), dtype=np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


@pytest.fixture(scope="module", params=[TINY, TINY.with_name("tiny_unihead.py")], ids=["default", "unihead"])
def run_folder(tmp_path_factory, request):
    """A work directory with an untrained network of three heads."""
    folder = tmp_path_factory.mktemp("run")
    config = load_config(request.param, {"image_size": 64})
    model = FoundationModel(config.model, HEADS)
    (folder / "checkpoints").mkdir()
    state = {"optimizer": {}, "step": 1, "visit": 1, "progress": {}}
    save_checkpoint(folder / "checkpoints", config=config, model=model, teacher=model, **state)
    return folder


def predict(run_folder, out, *sources):
    return main(["predict", str(run_folder), *map(str, sources), "--out", str(out), "--threshold", "0"])


def test_equal_file_names_are_kept_apart(run_folder, tmp_path):
    for patient in (1, 2):
        write(tmp_path / f"in/patient{patient}/study1/view1_frontal.png", patient)
    assert predict(run_folder, tmp_path / "out", *sorted(tmp_path.glob("in/*/*/*.png"))) == 0
    for patient in (1, 2):
        name = f"patient{patient}/study1/view1_frontal.png"
        values = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert values["image"] == str(tmp_path / "in" / name)
        assert (tmp_path / "out" / f"{name}.overlay.png").is_file()


def test_broken_images_are_passed_over_and_listed(run_folder, tmp_path, capsys):
    good = [write(tmp_path / f"in/{index}.png", index) for index in range(10)]
    broken = tmp_path / "in/x/broken.dcm"
    broken.parent.mkdir()
    broken.write_bytes(good[0].read_bytes()[:50])
    (tmp_path / "in/Thumbs.db").write_bytes(b"x")
    assert predict(run_folder, tmp_path / "out", tmp_path / "in") == 0
    assert "10 of 11 images" in capsys.readouterr().out
    with (tmp_path / "out/failed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["x/broken.dcm"] and rows[0]["reason"]
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {f"{index}.png" for index in range(10)}
    assert {row["class"] for row in rows if row["head"] == "a/classification"} == {"mass", "'=nodule"}
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"{index}.png" for index in range(10)]
    boxes = json.loads((tmp_path / "out/boxes.json").read_text())
    of_line = sum(len(line["heads"]["b/detection"]) for line in lines)
    assert len(boxes["images"]) == 10 and len(boxes["annotations"]) == of_line > 0
    assert {box["image_id"] for box in boxes["annotations"]} <= {image["id"] for image in boxes["images"]}
    points = json.loads((tmp_path / "out/keypoints.json").read_text())
    assert [kind["keypoints"] for kind in points["categories"]] == [["apex", "base"], ["carina"]]
    assert [one["num_keypoints"] for one in points["annotations"]] == [2, 1] * 10
    of_first = {row["class"]: row["point"] for row in lines[0]["heads"]["c/keypoints"]}
    assert points["annotations"][0]["keypoints"] == [*of_first["Lung/apex"], 2, *of_first["Lung/base"], 2]


def test_only_broken_images_are_an_error(run_folder, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert predict(run_folder, tmp_path / "out", tmp_path / "a.png") == FAULT
    assert "no image could be read" in capsys.readouterr().err


def test_results_of_a_batch_are_those_of_single_images(run_folder, tmp_path):
    paths = [write(tmp_path / f"in/{index}.png", index) for index in range(3)]
    assert predict(run_folder, tmp_path / "all", tmp_path / "in") == 0
    for path in paths:
        assert predict(run_folder, tmp_path / "one" / path.stem, path) == 0
        together = json.loads((tmp_path / "all" / f"{path.name}.json").read_text())["heads"]
        alone = json.loads((tmp_path / "one" / path.stem / f"{path.name}.json").read_text())["heads"]
        assert together["a/classification"] == pytest.approx(alone["a/classification"], abs=2e-4)
        assert len(together["b/detection"]) == len(alone["b/detection"])


def test_the_same_command_goes_on_and_another_one_is_refused(run_folder, tmp_path, capsys):
    for index in range(3):
        write(tmp_path / f"in/{index}.png", index)
    assert predict(run_folder, tmp_path / "out", tmp_path / "in/0.png", tmp_path / "in/1.png") == 0
    first = (tmp_path / "out/0.png.json").stat().st_mtime_ns
    assert predict(run_folder, tmp_path / "out", tmp_path / "in") == 0
    assert "2 of 3 images have results" in capsys.readouterr().out
    assert (tmp_path / "out/0.png.json").stat().st_mtime_ns == first
    assert len((tmp_path / "out/predictions.jsonl").read_text().splitlines()) == 3
    (tmp_path / "out/1.png.json").write_text('{"half":')
    assert predict(run_folder, tmp_path / "out", tmp_path / "in") == 0
    assert len((tmp_path / "out/predictions.jsonl").read_text().splitlines()) == 3
    other = ["predict", str(run_folder), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", "student"]
    assert main(other) == FAULT
    assert "holds predictions with another model, thresholds" in capsys.readouterr().err


def test_sources(tmp_path):
    a, b, c = (write(tmp_path / name) for name in ("x/a.png", "x/deep/b.png", "y/c"))
    with zipfile.ZipFile(tmp_path / "x/z.zip", "w") as archive:
        for name in ("inner/d.png", "__MACOSX/._d.png", "notes.txt"):
            archive.writestr(name, a.read_bytes())
    (tmp_path / "list.txt").write_text("x/a.png\n\ny\nx/deep/*.png\n")
    packed = tmp_path / "x/z.zip/inner/d.png"
    assert find_images([tmp_path / "x"]) == {"a.png": a, "deep/b.png": b}
    assert find_images([tmp_path / "x/z.zip"]) == {"d.png": packed}
    assert find_images([a, tmp_path / "x/z.zip"]) == {"a.png": a, "z.zip/inner/d.png": packed}
    assert find_images([tmp_path / "list.txt"]) == {"x/a.png": a, "y/c": c, "x/deep/b.png": b}
    assert find_images([f"{tmp_path}/**/*.png"]) == {"a.png": a, "deep/b.png": b}
    assert find_images([a, a, tmp_path / "x/../x/a.png"]) == {"a.png": a}
    for wrong in (tmp_path / "none", tmp_path / "none*.png"):
        with pytest.raises(DataError):
            find_images([wrong])


def test_images_named_like_our_own_files_keep_their_results(run_folder, tmp_path):
    for index, name in enumerate(("predict", "boxes", "keypoints", "predict_", "failed")):
        write(tmp_path / "in" / name, index)
    assert predict(run_folder, tmp_path / "out", *sorted((tmp_path / "in").iterdir())) == 0
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert {line["image"] for line in lines} == {"predict", "boxes", "keypoints", "predict_", "failed"}
    assert "thresholds" in json.loads((tmp_path / "out/predict.json").read_text())
    assert len(json.loads((tmp_path / "out/boxes.json").read_text())["images"]) == 5
    of_images = [json.loads(path.read_text()).get("image") for path in (tmp_path / "out").glob("*.json")]
    assert len({path for path in of_images if path}) == 5
    assert predict(run_folder, tmp_path / "out", *sorted((tmp_path / "in").iterdir())) == 0  # the second call goes on


def test_thresholds_of_validation_are_used_by_class_and_said(run_folder, tmp_path, capsys, request):
    """Only those of this visit; other classes have the default, and a given threshold replaces all."""
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    entry = {"value": 0.0, "rule": "youden", "split": "val", "positives": 1, "negatives": 1, "visit": 1}
    stored = {
        "a/classification": {"teacher": {"mass": entry, "=nodule": entry | {"visit": 9}}},
        "b/detection": {"teacher": {"mass": entry}},
    }
    (folder / "thresholds.json").write_text(json.dumps(stored))
    image = write(tmp_path / "x.png")
    assert main(["predict", str(folder), str(image), "--out", str(tmp_path / "out")]) == 0
    assert "thresholds chosen on validation; 0.3 for other classes" in capsys.readouterr().out
    used = json.loads((tmp_path / "out/predict.json").read_text())["thresholds"]
    points = dict.fromkeys(("Lung/apex", "Lung/base", "carina"), 0.3)
    assert used == {
        "a/classification": {"mass": 0.0, "=nodule": 0.3},
        "b/detection": {"mass": 0.0},
        "c/keypoints": points,
    }
    found = json.loads((tmp_path / "out/x.png.json").read_text())["heads"]["b/detection"]
    if "unihead" in request.node.callspec.id:
        corners = np.array([row["box"] for row in found])
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        overlaps = rle.iou(boxes, boxes, [False] * len(boxes))
        assert 1 < len(found) <= 10 and np.triu(overlaps, 1).max() < 0.51, "what was suppressed is not listed"
    else:
        assert len(found) == 10  # every query: the class's threshold is 0
    assert main(["predict", str(folder), str(image), "--out", str(tmp_path / "high"), "--threshold", "1"]) == 0
    assert json.loads((tmp_path / "high/x.png.json").read_text())["heads"]["b/detection"] == []
    assert "threshold 1 for every class" in capsys.readouterr().out
    assert main(["predict", str(folder), str(image), "--out", str(tmp_path / "no"), "--threshold", "2"]) == FAULT


def write_complete_dicom(path):
    """A DICOM file that belongs to a study."""
    path.write_bytes(dicom(np.zeros((60, 80), np.uint8)))
    image = pydicom.dcmread(path)
    image.StudyInstanceUID, image.SeriesInstanceUID = (pydicom.uid.generate_uid() for _ in range(2))
    image.PatientID = "p1"
    image.save_as(path)
    return image


def test_findings_as_dicom_are_those_of_the_json(tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed: no DICOM is written")
    image = write_complete_dicom(tmp_path / "x.dcm")
    polygon, other = [[10, 10], [30, 10], [30, 40], [10, 40]], [[50, 20], [60, 20], [60, 30], [50, 30]]
    heads = {
        "a/classification": {"mass": 0.25, "nodule": 0.5},
        "b/detection": [{"class": "mass", "score": 0.75, "box": [1, 2, 30, 40]}],
        "c/segmentation": [
            {"class": "lung", "share_of_image": 0.1, "polygons": [polygon, other]},
            {"class": "heart", "share_of_image": 0.0, "polygons": []},
        ],
    }
    masks, report = (
        pydicom.dcmread(path) for path in write_dicom(tmp_path / "x.dcm", {"heads": heads}, tmp_path / "r")
    )
    expected = np.zeros((60, 80), np.uint8)
    expected[10:40, 10:30] = expected[20:30, 50:60] = 1
    assert (masks.pixel_array == expected).all()
    assert [segment.SegmentLabel for segment in masks.SegmentSequence] == ["c/segmentation: lung"]
    text = str(report)
    assert [float(value) for value in re.findall(r"Numeric Value.*'([\d.]+)'", text)] == [0.25, 0.5, 0.75]
    assert "[1.0, 2.0, 30.0, 2.0, 30.0, 40.0, 1.0, 40.0, 1.0, 2.0]" in text
    for result in (masks, report):
        assert (result.StudyInstanceUID, result.PatientID) == (image.StudyInstanceUID, "p1")
        assert image.SOPInstanceUID in str(result) and result.SeriesInstanceUID != image.SeriesInstanceUID


def test_only_complete_dicom_files_have_results_as_dicom(run_folder, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="highdicom is not installed: no DICOM is written")
    (tmp_path / "in").mkdir()
    write_complete_dicom(tmp_path / "in/whole.dcm")
    (tmp_path / "in/nobody.dcm").write_bytes(dicom(np.zeros((60, 80), np.uint8)))
    write(tmp_path / "in/x.png")
    assert main(["predict", str(run_folder), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--dicom"]) == 0
    assert "1 images have results as DICOM" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").glob("*.sr.dcm")] == ["whole.dcm.sr.dcm"]
