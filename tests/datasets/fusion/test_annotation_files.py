"""``fuse --annotations`` writes what the readers read, and reading it back gives the same to the last pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.core.errors import DataError
from foundationx.core.types import Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.annotation_files import read_rows
from foundationx.tasks.definition import SourceImage
from foundationx.tasks.segmentation.target import draw

CARDS = ("chestdr", "vindr_cxr", "chestx_det", "siim_acr", "shenzhen_masks", "montgomery")
TASKS = (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)
SIDE = 64


@pytest.fixture(scope="module")
def fused(tmp_path_factory) -> tuple[Path, Path]:
    """Data root with copies of five datasets, and the folder of their fusion."""
    folder = tmp_path_factory.mktemp("fused")
    recipe, copies, out = folder / "recipe.yaml", folder / "copies", folder / "out"
    recipe.write_text(yaml.safe_dump({"name": "five", "cards": {"allow": list(CARDS)}}))
    words = [word for name in CARDS for word in ("--card", name)]
    assert main(["data", "phantoms", str(copies), *words, "--images", "6", "--size", str(SIDE)]) == 0
    words = ["data", "fuse", str(recipe), "--out", str(out), "--data-root", str(copies), "--annotations"]
    assert main(words) == 0
    return copies, out


def lines_of(out: Path, task: Task) -> list[dict]:
    return [json.loads(line) for line in (out / f"annotations-{task.value}.jsonl").read_text().splitlines()]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_reading_back_gives_what_the_readers_give(fused, task):
    copies, out = fused
    tables = read_rows(out / f"annotations-{task.value}.jsonl", task)
    catalog = Catalog()
    assert set(tables) == {name for name in CARDS if task in catalog.card(name).tasks}
    for name, table in tables.items():
        original = read_annotations(catalog.card(name), task, copies)
        for part in ("key", "classes", "images", "patients", "splits", "sizes", "mirror_pairs", "sided"):
            assert getattr(table, part) == getattr(original, part), (name, part)
        assert list(table.rows) == list(original.rows)
        assert same(table.labels, original.labels) and table.labels.dtype == np.float32
        assert len(table.targets) == len(original.targets)
        for mine, theirs, labels in zip(table.targets, original.targets, original.labels, strict=False):
            assert_same_target(task, mine, theirs, labels, copies / catalog.card(name).root)


def assert_same_target(task, mine, theirs, labels, folder) -> None:
    if task is Task.DETECTION:
        parts = ("boxes", "box_classes", "ignored", "ignored_classes")
        assert all(same(getattr(mine, part), getattr(theirs, part)) for part in parts)
        return
    from foundationx.data.pixels.read import read_mask

    source = SourceImage("", "", (1024, 1024), labels, lambda file: read_mask(folder, file, ""))
    for one, other in zip(mine, theirs, strict=True):
        for part in ("file", "positive", "ignore", "scaled", "class_index"):
            assert getattr(one, part) == getattr(other, part)
    drawn = [draw([part for part in parts if not part.file], source).masks for parts in (mine, theirs)]
    assert same(*drawn)


def test_every_object_has_the_four_blocks_of_the_survey(fused):
    _, out = fused
    for task in TASKS:
        for row in lines_of(out, task):
            assert list(row) == ["record", "context", "media_geometry", "tasks"]
            assert set(row["record"]) == {"dataset_name", "image_path", "sample_id"}
            assert {"subject_id", "age", "sex", "site", "modality", "anatomy", "extra"} == set(row["context"])
            assert row["media_geometry"]["task_type"] == task.value and row["media_geometry"]["dimension"] == "2D"
            (payload,) = row["tasks"].values()
            assert payload["schema_variant"] == "image-1"
            assert set(payload["class_labels"].values()) <= {0, 1, None}


def test_unknown_is_null_and_disputed_places_are_kept_apart(fused):
    _, out = fused
    rows = [row for row in lines_of(out, Task.DETECTION) if row["context"]["extra"]["card"] == "vindr_cxr"]
    payloads = [payload for row in rows for payload in row["tasks"].values()]
    disputed = [payload for payload in payloads if payload["ignored_boxes"]]
    assert disputed
    for payload in disputed:
        names = {item["class"] for item in payload["ignored_boxes"]} - {item["class"] for item in payload["boxes"]}
        assert all(payload["class_labels"][name] is None for name in names)


def test_image_paths_lie_under_the_data_root(fused):
    copies, out = fused
    for row in lines_of(out, Task.SEGMENTATION):
        assert (copies / row["record"]["image_path"]).is_file()


def test_annotations_need_a_data_root(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "five", "cards": {"allow": list(CARDS)}}))
    assert main(["data", "fuse", str(recipe), "--out", str(tmp_path / "out"), "--annotations"]) == 2
    assert "add --data-root" in capsys.readouterr().err


def test_left_and_right_keep_their_pairs(fused):
    _, out = fused
    rows = [row for row in lines_of(out, Task.SEGMENTATION) if row["context"]["extra"]["card"] == "montgomery"]
    assert rows and all(row["media_geometry"]["mirror_pairs"] == [["Left Lung", "Right Lung"]] for row in rows)
    table = read_rows(out / "annotations-segmentation.jsonl", Task.SEGMENTATION)["montgomery"]
    assert set(table.sided) == {"Left Lung", "Right Lung"} == set(table.mirror_pairs[0])


@pytest.mark.parametrize("sides", [None, [["Left Lung"]], [["Left Lung", "Heart"]]])
def test_sides_that_are_missing_or_no_classes_are_named(fused, tmp_path, sides):
    _, out = fused
    (row,) = [row for row in lines_of(out, Task.SEGMENTATION) if row["context"]["extra"]["card"] == "montgomery"][:1]
    row["media_geometry"]["mirror_pairs"] = sides
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"a\.jsonl line 1"):
        read_rows(tmp_path / "a.jsonl", Task.SEGMENTATION)


def test_a_damaged_line_is_named(fused, tmp_path):
    _, out = fused
    lines = (out / "annotations-detection.jsonl").read_text().splitlines()
    row = json.loads(lines[1])
    del row["media_geometry"]
    (tmp_path / "a.jsonl").write_text("\n".join([lines[0], json.dumps(row)]))
    with pytest.raises(DataError, match=r"a\.jsonl line 2"):
        read_rows(tmp_path / "a.jsonl", Task.DETECTION)
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"a\.jsonl line 1"):
        read_rows(tmp_path / "a.jsonl", Task.DETECTION)
