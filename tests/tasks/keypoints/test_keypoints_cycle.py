"""A whole cycle with points beside masks of the same images: train, go on, evaluate, report, predict."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.types import Task, TaskKey
from foundationx.evaluation.predictions import read_predictions
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.keypoints.head import KeypointsHead

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
HEAD = "phantom_points/keypoints"
IMAGES, SIZE = 24, 64
CONFIG = f"""_base_ = ["{ROOT}/tests/helpers/tiny_config.py"]
name = "points"
datasets = [dict(card="phantom_points"), dict(card="phantom_masks")]
split = dict(file="phantom_splits.csv", seed=0)
model = dict(heads=dict(keypoints=dict(type="keypoints", options=dict(channels=32))))
views = dict(keypoints=dict(geometry=dict(hflip=0.5)))
schedule = dict(
    cycles=2,
    lock=dict(_delete_=True, keypoints=0.5),
    release=dict(_delete_=True, keypoints=10.0, segmentation=0.2),
)
optimizer = dict(lr=3e-3)
"""


class StoppedError(Exception):
    """What ends a run in the middle of a visit."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    write_phantom_datasets(folder / "data", {"phantom_masks": IMAGES}, SIZE, processes=1)
    (folder / "config.py").write_text(CONFIG)
    train(folder, "run")
    return folder


def train(folder, name, *more):
    data = ["--data-root", str(folder / "data")]
    assert main(["train", str(folder / "config.py"), *data, "--work-dir", str(folder / name), *more]) == 0


def rows(folder, metric, model="student", split="val"):
    found = json.loads((folder / "metrics.json").read_text())
    wanted = ("keypoints", metric, "mean", model, split)
    keys = ("task", "metric", "class", "model", "split")
    return {row["visit"]: row["value"] for row in found if tuple(row[key] for key in keys) == wanted}


def test_it_learns_in_lock_and_release_and_the_best_has_the_least_error(world):
    log = [json.loads(line) for line in (world / "run" / "log.jsonl").read_text().splitlines()]
    own = [row for row in log if row["task"] == "keypoints"]
    assert {row["phase"] for row in own} == {"lock", "release"}
    assert {*own[0]["losses"]} >= {"distance", "visibility"}
    error = rows(world / "run", "MRE")
    last = max(error)
    assert error[last] < 0.5 * error[0] and rows(world / "run", "PCK 5")[last] > rows(world / "run", "PCK 5")[0]
    assert rows(world / "run", "MRE mm")[last] == pytest.approx(error[last] * 4, rel=1e-4), "400 mm a side"
    best = json.loads((world / "run" / "best.json").read_text())[HEAD]
    after = {visit: value for visit, value in rows(world / "run", "MRE", "teacher").items() if visit}
    assert (best["metric"], best["value"]) == ("MRE", min(after.values()))


def test_the_trivial_answer_is_the_mean_training_place(world):
    learned = json.loads((world / "run" / "trivial.json").read_text())[HEAD]
    with open(world / "data" / "phantom_masks" / "landmarks.csv") as stream:
        listed = list(csv.DictReader(stream))
    with open(world / "data" / "phantom_splits.csv") as stream:
        splits = {row["patient"]: row["split"] for row in csv.DictReader(stream)}
    own = [r for r in listed if r["point"] == "carina" and splits[f"phantom_masks:{r['patient']}"] == "train"]
    mean = np.mean([[float(row["x"]), float(row["y"])] for row in own], axis=0) / SIZE
    assert learned["carina"]["point"] == pytest.approx(mean, abs=1e-5) and learned["carina"]["score"] == 1.0
    assert 0 < learned["nodule"]["score"] < 1
    assert rows(world / "run", "MRE", "trivial")


def test_a_run_that_was_stopped_goes_on_to_the_same_figures(world, monkeypatch):
    calls, loss = iter(range(20)), KeypointsHead.loss

    def stopping(head, outputs, batch):
        if next(calls, None) is None:
            raise StoppedError
        return loss(head, outputs, batch)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(KeypointsHead, "loss", stopping)
        train(world, "again")
    train(world, "again")
    assert rows(world / "again", "MRE") == rows(world / "run", "MRE")


def test_eval_gives_the_figures_of_the_run_from_its_checkpoint(world):
    shown = world / "eval.json"
    data = ["--data-root", str(world / "data"), "--split", "test"]
    assert main(["eval", str(world / "run"), *data, "--json", str(shown)]) == 0
    found = {
        (row["model"], row["metric"]): row["value"]
        for row in json.loads(shown.read_text())
        if row["task"] == "keypoints" and row["class"] == "mean"
    }
    for metric in ("MRE", "PCK 2", "OKS AP", "AUROC"):
        expected = rows(world / "run", metric, split="test")
        assert found["student", metric] == pytest.approx(expected[max(expected)], nan_ok=True), metric


def test_stored_predictions_are_read_and_damaged_ones_refused(world):
    path = world / "run" / "predictions" / "phantom_points" / "keypoints.test.student.npz"
    stored = read_predictions(path)
    assert stored.key == TaskKey("phantom_points", Task("keypoints")) and stored.array("true_points").shape[1:] == (
        9,
        2,
    )
    arrays = dict(np.load(path))
    arrays["recorded.predicted_points"] = arrays["recorded.predicted_points"][:, :3]
    np.savez(world / "damaged.npz", **arrays)
    with pytest.raises(Exception, match="holds no predictions"):
        read_predictions(world / "damaged.npz")


def test_the_report_draws_points_and_says_how_far_they_are_off(world):
    page = (world / "run" / "report.html").read_text()
    assert "Disc: true point, cross: predicted one" in page and "of the side, visible" in page


def test_predict_names_points_near_the_true_ones_and_draws_them(world):
    images = sorted((world / "data" / "phantom_masks" / "images").iterdir())[:4]
    out = world / "said"
    command = [
        "predict",
        str(world / "run"),
        *map(str, images),
        "--head",
        HEAD,
        "--model",
        "student",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    with open(world / "data" / "phantom_masks" / "landmarks.csv") as stream:
        true = {(row["image"], row["point"]): row for row in csv.DictReader(stream)}
    off = []
    for image in images:
        found = json.loads((out / f"{image.name}.json").read_text())["heads"][HEAD]
        assert {row["class"] for row in found} >= {"carina", "left apex", "right apex"}
        for row in found:
            if row["class"] != "nodule":
                place = true[image.name, row["class"]]
                off.append(np.hypot(*(np.array(row["point"]) - [float(place["x"]), float(place["y"])])))
        picture = cv2.imread(str(out / f"{image.name}.overlay.png"))
        assert (picture.max(axis=2) != picture.min(axis=2)).any(), "crosses in colour"
    assert np.mean(off) < 0.1 * SIZE
    with open(out / "predictions.csv") as stream:
        listed = [row for row in csv.DictReader(stream) if row["image"].endswith(images[-1].name)]
    told = {row["class"]: row["point"] for row in found}
    assert {row["class"]: [float(row["x1"]), float(row["y1"])] for row in listed} == told
    assert {(row["x2"], row["y2"]) for row in listed} == {("", "")}
