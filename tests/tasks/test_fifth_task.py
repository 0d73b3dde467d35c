"""A fifth task of another package: one folder, joined by entry points. No file of foundationx names it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "helpers" / "landmarks"
SIDE, IMAGES = 96, 48
ENTRY_POINTS = """[foundationx.tasks]
landmarks = landmarks.task
[foundationx.heads]
landmarks = landmarks.head
[foundationx.readers]
points_csv = landmarks.reader
[foundationx.metrics]
radial_error = landmarks.metric
"""
CONFIG = f"""_base_ = ["{ROOT}/tests/helpers/tiny_config.py"]
name = "landmarks"
datasets = [dict(card="made_points"), dict(card="phantom_labels")]
schedule = dict(cycles=3, lock=dict(landmarks=0.5), release=dict(landmarks=6.0, classification=0.5))
optimizer = dict(lr=3e-3)
"""


def install(folder):
    """The stranger's distribution, as pip would lay it down."""
    shutil.copytree(FOLDER, folder / "landmarks", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / "landmarks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: landmarks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    cards = folder / "cards"
    cards.mkdir()
    (folder / "landmarks" / "made_points.yaml").rename(cards / "made_points.yaml")


def write_images(folder):
    """Dark noise with a bright square and a ring; their middles are the points."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    with open(folder / "points.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "bright_x", "bright_y", "ring_x", "ring_y"])
        for number in range(IMAGES):
            image = random.integers(0, 40, (SIDE, SIDE), dtype=np.uint8)
            (x, y), (u, v) = random.integers(15, SIDE - 15, (2, 2)).tolist()
            cv2.circle(image, (u, v), 9, 150, 3)
            cv2.rectangle(image, (x - 5, y - 5), (x + 5, y + 5), 255, -1)
            cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
            table.writerow([f"{number}.png", x, y, u, v])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fifth")
    install(folder / "site")
    write_images(folder / "data" / "made_points")
    (folder / "config.py").write_text(CONFIG)
    run(folder, "data", "phantoms", "data", "--images", "12", "--size", "64")
    run(folder, "train", "config.py", "--data-root", "data", "--work-dir", "run")
    return folder


def run(folder, *arguments):
    """A command of foundationx in a process that finds the stranger's package."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "site")]),
        "FOUNDATIONX_REGISTRY": str(folder / "site" / "cards"),
    }
    command = [sys.executable, "-m", "foundationx.apps.cli.main", *arguments]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rows_of(folder, metric="MRE"):
    rows = json.loads((folder / "run" / "metrics.json").read_text())
    return [row for row in rows if (row["task"], row["metric"], row["class"]) == ("landmarks", metric, "mean")]


def test_it_trains_in_lock_and_release(world):
    log = [json.loads(line) for line in (world / "run" / "log.jsonl").read_text().splitlines()]
    own = [row for row in log if row["task"] == "landmarks"]
    assert {row["phase"] for row in own} == {"lock", "release"}
    losses = [row["losses"]["distance"] for row in own]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert {row["task"] for row in log} == {"landmarks", "classification"}


def test_its_metric_is_there_at_every_evaluation_and_falls(world):
    rows = rows_of(world)
    validation = {row["visit"]: row["value"] for row in rows if row["split"] == "val" and row["model"] == "student"}
    assert sorted(validation) == [0, 2, 4, 6]
    assert validation[6] < 0.8 * validation[0]
    best = json.loads((world / "run" / "best.json").read_text())["made_points/landmarks"]
    of_teacher = [row["value"] for row in rows if (row["split"], row["model"]) == ("val", "teacher") and row["visit"]]
    assert best["metric"] == "MRE" and best["value"] == min(of_teacher), "the best has the least error"


def test_it_is_evaluated_from_its_checkpoint_as_in_the_run(world):
    shown = run(world, "eval", "run", "--data-root", "data", "--split", "test", "--json", "again.json")
    assert "MRE" in shown
    again = {
        (row["model"], row["class"]): row["value"]
        for row in json.loads((world / "again.json").read_text())
        if row["metric"] == "MRE"
    }
    last = {row["model"]: row["value"] for row in rows_of(world) if row["split"] == "test" and row["visit"] == 6}
    assert {model: again[model, "mean"] for model in last} == pytest.approx(last)


def test_the_report_draws_it(world):
    run(world, "report", "run")
    page = (world / "run" / "report.html").read_text()
    assert "Disc: true, cross: predicted." in page and "off by" in page and "data:image/webp;base64," in page


def test_it_predicts_points_near_the_true_ones(world):
    with open(world / "data" / "made_points" / "points.csv") as stream:
        true = {row["image"]: row for row in csv.DictReader(stream)}
    images = [f"data/made_points/images/{number}.png" for number in range(6)]
    run(world, "predict", "run", *images, "--head", "made_points/landmarks", "--model", "student", "--out", "said")
    off = []
    for number in range(6):
        values = json.loads((world / "said" / f"{number}.png.json").read_text())["heads"]["made_points/landmarks"]
        assert [row["class"] for row in values] == ["bright", "ring"]
        row = true[f"{number}.png"]
        off.append(np.hypot(*(np.array(values[0]["point"]) - [float(row["bright_x"]), float(row["bright_y"])])))
        drawn = cv2.imread(str(world / "said" / f"{number}.png.overlay.png"))
        assert (drawn.max(axis=2) != drawn.min(axis=2)).any(), "a cross in colour"
    assert np.mean(off) < 0.25 * SIDE
