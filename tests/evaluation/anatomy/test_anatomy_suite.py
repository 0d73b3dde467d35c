"""All measures of one backbone: a constant one is at chance everywhere; the command line on generated radiographs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.protocols.anatomy import Options, settings_of
from foundationx.apps.protocols.base import Request, open_protocol
from foundationx.apps.run.train import build_model
from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.geometry.views import CELL
from foundationx.data.datamodule import open_datasets
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.evaluation.anatomy.suite import NEED_LANDMARKS, Radiograph, Settings, measure
from foundationx.evaluation.report import write_report
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.self_supervision.objective import Tokens

pytestmark = pytest.mark.slow

CONFIG = str(Path(__file__).resolve().parents[3] / "tests" / "helpers" / "tiny_config.py")
NAMES = ("Right Lung: top", "Left Lung: top", "Right Lung: left", "Left Lung: right", "Heart: centre")
SETTINGS = Settings(view=CELL, step=16, relations=3, gallery=4)


def radiographs(count=4, size=128):
    """Radiographs of noise with landmarks that differ by some pixels; the last radiograph lacks one."""
    random = np.random.default_rng(0)
    positions = np.array([[30, 40], [30, 88], [70, 24], [70, 104], [80, 70]])
    shown = []
    for n in range(count):
        points = positions + random.integers(-4, 5, positions.shape)
        marks = {name: tuple(map(float, point)) for name, point in zip(NAMES, points, strict=True)}
        if n == count - 1:
            del marks["Heart: centre"]
        shown.append(Radiograph(random.integers(0, 255, (size, size), dtype=np.uint8), marks, f"radiograph {n}"))
    return shown


def constant(images):
    """The same token for whatever is seen."""
    side = images.shape[-1] // CELL
    return Tokens(torch.ones(len(images), side * side, 3), (side, side))


def test_a_constant_backbone_is_at_chance_in_everything():
    result = measure(constant, radiographs(), SETTINGS, lambda what: None)
    names = {row.name for row in result.measured}
    assert names >= {"interpolation", "extrapolation", "triangulation", "composition", "decomposition", "silhouette"}
    assert names >= {"correspondence (px)", "found within 13 px", "symmetry", "locality", "landmark probe"}
    for row in result.measured:
        if row.against == "mean position of the landmark":
            assert row.value > 5 * row.baseline, "knowing where a landmark usually is beats a constant"
        elif row.name in ("locality", "landmark probe"):
            assert row.value <= row.baseline + 0.1  # the classes are nearly, not exactly, of one size
        else:
            assert row.values == pytest.approx(row.baselines, abs=1e-6), (row.name, row.class_name)


def test_a_landmark_that_a_radiograph_lacks_is_left_out_of_its_pairs():
    shown = radiographs()
    rows = {r.class_name: r for r in measure(constant, shown, SETTINGS, lambda what: None).measured if not r.better}
    assert rows["Right Lung: top"].count == 4 * 3 and rows["Heart: centre"].count == 3 * 2
    assert len(rows["Heart: centre"].values) == 3


def test_a_backbone_that_encodes_positions_locates_them():
    """Radiographs whose pixels say where they are: rows by the grey value's tens, columns are not told apart here."""
    size = 128
    slope = np.tile(np.arange(size, dtype=np.uint8)[:, None], (1, size))

    def rows_seen(images):
        side = images.shape[-1] // CELL
        middle = images[:, 0].float().mean(dim=(1, 2)) / 40
        return Tokens(torch.stack([middle.cos(), middle.sin()], dim=1)[:, None].repeat(1, side * side, 1), (side, side))

    heights = {"Right Lung: top": 24.0, "Right Lung: lower left": 72.0, "Left Lung: top": 104.0}
    shown = [Radiograph(slope, {name: (y, 64.0) for name, y in heights.items()}) for _ in range(3)]
    result = measure(rows_seen, shown, SETTINGS, lambda what: None)
    rows = {row.name: row for row in result.measured if row.class_name == "mean"}
    assert rows["locality"].value == rows["landmark probe"].value == 1.0
    assert rows["locality"].baseline == pytest.approx(1 / 3)
    assert rows["interpolation"].value > 0.9 > rows["interpolation"].baseline


def test_without_landmarks_the_other_measures_are_made_and_the_reason_is_given():
    bare = [Radiograph(radiograph.image, {}) for radiograph in radiographs()]
    result = measure(constant, bare, SETTINGS, lambda what: None)
    kept = {"interpolation", "extrapolation", "triangulation", "composition", "decomposition"}
    assert {row.name for row in result.measured} == kept
    assert result.left_out == [f"{NEED_LANDMARKS}: the radiographs have no landmarks"]
    heart = [Radiograph(f.image, {"Heart: left": (9, 9), "Heart: right": (9, 60)}) for f in bare]
    assert measure(constant, heart, SETTINGS, lambda what: None).left_out == [
        "symmetry: no landmark occurs on both sides of the body"
    ]


def test_the_gallery_has_a_fixed_size():
    settings = Settings(view=CELL, gallery=2, relations=1)
    rows = {row.name: row for row in measure(constant, radiographs(5), settings, lambda what: None).measured}
    assert rows["decomposition"].count == 4 * 4, "four radiographs make two galleries, the fifth is in none"
    assert rows["decomposition"].baseline == 0.5


@pytest.mark.parametrize(("size", "view"), [(64, 32), (256, 160), (512, 288), (1024, 608)])
def test_the_view_is_an_odd_number_of_tokens(size, view):
    assert settings_of(Options(size=size), 64)[0].view == view
    with pytest.raises(ConfigError, match="odd number of tokens"):
        settings_of(Options(size=size, view=64), 64)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Generated radiographs and the checkpoint of a tiny run that has not taken a step."""
    data, work = tmp_path_factory.mktemp("radiographs"), tmp_path_factory.mktemp("run")
    write_phantom_datasets(data, 24, size=64, seed=0)
    config = load_config(CONFIG, {"split": {"train": 0.2, "val": 0.4, "test": 0.4}})
    model = build_model(config, open_datasets(config, data), "cpu")
    (work / "checkpoints").mkdir()
    state = {"optimizer": {}, "step": 0, "visit": 0, "progress": {}}
    save_checkpoint(work / "checkpoints", config=config, model=model, teacher=model, **state)
    return data, work


def test_the_command_writes_rows_and_pictures_and_the_report_shows_them(world):
    data, work = world
    arguments = ["--protocol", "anatomy", "--card", "phantom_masks", "--data-root", str(data), "--out", str(work)]
    chosen = ["split=val", "radiographs=4", "view=32", "step=16", "relations=2", "gallery=2"]
    assert main(["eval", str(work), *arguments, "--with", *chosen]) == 0
    rows = json.loads((work / "anatomy.json").read_text())["rows"]
    errors = {row["class"]: row for row in rows if row["metric"] == "correspondence (px)"}
    assert {"mean", "Right Lung: top", "Left Lung: lower right", "Heart: centre"} <= set(errors)
    assert all(0 <= float(row["value"]) <= 64 * np.sqrt(2) for row in errors.values())
    for row in rows:
        digits = 0.2 if row["metric"].endswith("(px)") else 2e-3
        assert float(row["gain"]) == pytest.approx(float(row["value"]) - float(row["by chance"]), abs=digits)
        if row["chance is"] not in ("random pairs", "nearest known position"):  # chance is the same for both networks
            bare = float(row["random weights"]) - float(row["by chance"])
            assert float(row["their gain"]) == pytest.approx(bare, abs=digits)
    for name in ("measures", "correspondence", "similarity"):
        picture = cv2.imread(str(work / "anatomy" / f"{name}.png"))
        assert picture.shape[1] >= 900 and picture.std() > 10
    page = write_report(work).read_text()
    assert "Anatomy in the frozen backbone" in page and page.count("data:image/png;base64") >= 3


def test_a_dataset_without_landmarks_and_one_without_patients(world):
    data, work = world
    module, options = open_protocol("anatomy", {"radiographs": 3, "view": 32, "relations": 1, "untrained": False})
    result = module.run(Request(work, "student", "phantom_labels", None, data, "cpu"), options)
    assert any(note.startswith("left out: locality") for note in result.notes)
    assert {row[0] for row in result.rows} >= {"composition", "triangulation"} and result.rows[0][-1] == "-"
    boxes = module.run(Request(work, "teacher", "phantom_boxes", None, data, "cpu"), options)
    assert {row[1] for row in boxes.rows} >= {"Heart: centre"}, "boxes of organs give landmarks, findings do not"
    assert not any("Nodule" in row[1] for row in boxes.rows)
    with pytest.raises(ConfigError, match="radiographs"):
        open_protocol("anatomy", {"radiographs": 1})
