"""Every real file is read by its card, and agrees with a slow reading of the published file.

Each slow reading here finds columns and classes in its own way: no code is shared with the readers.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from foundationx.core.types import Annotations, Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.splits import assign_splits
from tests.helpers.cards import all_cards
from tests.helpers.reader_cards import make_card

pytestmark = pytest.mark.shared
CATALOG = all_cards()
MULTI = tuple(name for name in CATALOG.names() if name.startswith("multi_"))
REAL = tuple(name for name in CATALOG.names() if name.startswith(("covid_chestxray", "covid_lung_")))


def read(name: str, task: Task, data_root: Path) -> Annotations:
    return read_annotations(CATALOG.card(name), task, data_root)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def named(found: Annotations, image: str) -> dict[str, float | None]:
    """Labels of an image by class; None where unknown, so that they can be compared."""
    values = found.labels[found.images.index(image)].tolist()
    return {name: None if math.isnan(v) else v for name, v in zip(found.classes, values, strict=True)}


def dozen(items: list) -> list:
    """About twelve items spread over the list, the first and the last among them."""
    return [items[i] for i in sorted({round(k * (len(items) - 1) / 11) for k in range(12)})]


def with_images(source: Path, data_root: Path, folder: str, target: str, names: list[str]) -> None:
    """The published file in a folder whose images are empty files: readers decode no pixel."""
    images = data_root / folder / "images"
    images.mkdir(parents=True)
    shutil.copy(source, data_root / folder / target)
    for name in names:
        (images / name).touch()


@pytest.mark.parametrize("name", MULTI)
def test_counts_files_and_patients_of_the_multi_sets(shared_data, name):
    card = CATALOG.card(name)
    index = {row["file"].removeprefix("dev/"): row for row in rows_of(shared_data / "cxr_multi/index.csv")}
    listed = {file for file in index if file.startswith(card.root + "/")}
    for task in card.tasks:
        result = read(name, task, shared_data / "cxr_multi")
        assert len(result) == card.expected.images == len(listed)
        assert {f"{card.root}/{image}" for image in result.images} == listed
        assert result.bad == []
        prefixes = {"nih:": "nih", "covid:": "cov", "kermany:": "ker"}
        for image, patient in zip(result.images, result.patients, strict=True):
            space, _, number = patient.partition(":")
            assert prefixes[space + ":"] + number == index[f"{card.root}/{image}"]["patient"]


@pytest.mark.parametrize("folder", ["annotations", "cxr_multi"])
def test_nih_labels(shared_data, tmp_path, folder):
    if folder == "annotations":
        source = shared_data / "annotations/nih_chestxray14/Data_Entry_2017_v2020.head3000.csv"
        rows = rows_of(source)
        names = [row["Image Index"] for row in rows]
        with_images(source, tmp_path, "nih_chestxray14", "Data_Entry_2017_v2020.csv", names)
        (tmp_path / "nih_chestxray14/test_list.txt").write_text("\n".join(names[::5]))
        result = read("nih_chestxray14", Task.CLASSIFICATION, tmp_path)
        assert result.splits == [Split.TEST if i % 5 == 0 else None for i in range(3000)]
    else:
        rows = rows_of(shared_data / "cxr_multi/A_nih_cls/Data_Entry_2017_v2020.csv")
        result = read("multi_nih_labels", Task.CLASSIFICATION, shared_data / "cxr_multi")
    assert len(result) == len(rows)
    assert result.patients == [f"nih:{row['Patient ID']}" for row in rows]
    counts = Counter(finding for row in rows for finding in row["Finding Labels"].split("|"))
    assert set(result.classes) == set(counts) - {"No Finding"}
    assert dict(zip(result.classes, result.labels.sum(axis=0), strict=True)) == {k: counts[k] for k in result.classes}
    assert (result.labels.sum(axis=1) == 0).sum() == counts["No Finding"]
    for row in dozen(rows):
        present = set(row["Finding Labels"].split("|"))
        image = f"images/{row['Image Index']}"
        assert named(result, image) == {name: float(name in present) for name in result.classes}


@pytest.mark.parametrize("folder", ["annotations", "cxr_multi"])
def test_nih_boxes(shared_data, tmp_path, folder):
    if folder == "annotations":
        source = shared_data / "annotations/nih_chestxray14/BBox_List_2017.csv"
    else:
        source = shared_data / "cxr_multi/H_nih_bbox/BBox_List_2017.csv"
    lines = [line.split(",") for line in source.read_text().splitlines()[1:]]
    if folder == "annotations":
        with_images(source, tmp_path, "nih_chestxray14", "BBox_List_2017.csv", sorted({line[0] for line in lines}))
        result = read("nih_bbox", Task.DETECTION, tmp_path)
        assert (len(lines), len(result)) == (984, 880)
    else:
        result = read("multi_nih_boxes", Task.DETECTION, shared_data / "cxr_multi")
    assert sum(map(len, result.targets)) == len(lines)
    for name in dozen(sorted({line[0] for line in lines})):
        mine = [line for line in lines if line[0] == name]
        i = result.images.index(f"images/{name}")
        assert result.patients[i] == f"nih:{int(name.split('_')[0])}"
        classes = [{"Infiltrate": "Infiltration"}.get(line[1], line[1]) for line in mine]
        assert [result.classes[k] for k in result.targets[i].box_classes] == classes
        corners = [[float(x), float(y), float(x) + float(w), float(y) + float(h)] for _, _, x, y, w, h, *_ in mine]
        np.testing.assert_allclose(result.targets[i].boxes, corners, rtol=1e-6)
        assert named(result, f"images/{name}") == {k: 1.0 if k in classes else None for k in result.classes}


def test_covid_findings(shared_data):
    result = read("covid_chestxray", Task.CLASSIFICATION, shared_data)
    rows = rows_of(shared_data / "cxr_real/findings.csv")
    assert len(result) == len(rows) == 195
    assert len(set(result.patients)) == len({row["patientid"] for row in rows}) == 109
    assert result.images == [f"images/{row['filename']}" for row in rows]
    for row, labels in zip(rows, result.labels, strict=True):
        covid = "COVID-19" in row["finding"]
        expected = {
            "todo": [None, None],
            "No Finding": [0, 0],
            "ARDS": [None, None],  # says nothing of either class
        }.get(row["finding"], [float(covid), float(not covid)])
        assert [None if math.isnan(v) else v for v in labels] == expected, row["finding"]


@pytest.mark.parametrize(
    ("name", "root", "file", "images", "boxes"),
    [
        ("covid_lung_boxes", "cxr_real", "lung_boxes.json", 30, 60),
        ("multi_lung_boxes", "cxr_multi/E_covid_lungbox", "annotations.json", 95, 190),
    ],
)
def test_coco_lung_boxes(shared_data, name, root, file, images, boxes):
    result = read(name, Task.DETECTION, shared_data / Path(root).parent)
    content = json.loads((shared_data / root / file).read_text())
    assert len(result) == images
    assert sum(map(len, result.targets)) == boxes
    assert result.classes == ("Right Lung", "Left Lung")
    categories = {item["id"]: item["name"] for item in content["categories"]}
    for image in dozen(content["images"]):
        mine = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        i = result.images.index(f"images/{image['file_name']}")
        assert [result.classes[k] for k in result.targets[i].box_classes] == [
            categories[item["category_id"]] for item in mine
        ]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in mine)]
        np.testing.assert_allclose(result.targets[i].boxes, corners, rtol=1e-5)


def test_the_right_lung_is_on_the_left_of_the_picture(shared_data):
    """Catches swapped classes and swapped corners, which no count would show."""
    result = read("multi_lung_boxes", Task.DETECTION, shared_data / "cxr_multi")
    right_of = [
        boxes[classes == 1][0, 0] - boxes[classes == 0][0, 0]
        for boxes, classes in ((target.boxes, target.box_classes) for target in result.targets)
    ]
    assert min(right_of) > 0


def test_coco_of_another_project_with_sub_folders(shared_data):
    classes = ["ObsoletePulmonaryTuberculosis", "ActiveTuberculosis"]
    options = {"ignore": ["PulmonaryTuberculosis"]}
    card = make_card("coco", classes, "detection", file="TBX11K_train.json", images="imgs", options=options)
    result = read_annotations(card, Task.DETECTION, shared_data / "annotations", root="tbx11k")
    assert result.images == ["imgs/tb/tb0005.png", "imgs/tb/tb0007.png", "imgs/health/h0001.png"]
    assert result.labels.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert [len(boxes) for boxes in result.targets] == [1, 2, 0]
    np.testing.assert_allclose(result.targets[0].boxes, [[381.83371, 126.87339, 422.07062, 171.43916]], rtol=1e-6)


def test_chestx_det(shared_data):
    """The whole published test side is read in test_cards_real.py."""
    records = json.loads((shared_data / "cxr_multi/C_chestxdet_det/ChestX_Det.json").read_text())
    tasks = (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)
    result = {task: read("multi_chestx_det", task, shared_data / "cxr_multi") for task in tasks}
    detection, segmentation = result[Task.DETECTION], result[Task.SEGMENTATION]
    assert [len(table) for table in result.values()] == [36] * 3
    assert sum(map(len, detection.targets)) == sum(map(len, segmentation.targets)) == 89
    assert set(detection.classes) >= {finding for record in records for finding in record["syms"]}
    positives = Counter(finding for record in records for finding in set(record["syms"]))
    for table in result.values():
        assert dict(zip(table.classes, table.labels.sum(axis=0), strict=True)) == {
            k: positives[k] for k in table.classes
        }
    for record in dozen(records):
        i = detection.images.index(f"images/{record['file_name']}")
        assert [detection.classes[k] for k in detection.targets[i].box_classes] == record["syms"]
        np.testing.assert_allclose(detection.targets[i].boxes.reshape(-1), np.ravel(record["boxes"]))
        for part, finding, points in zip(segmentation.targets[i], record["syms"], record["polygons"], strict=True):
            assert segmentation.classes[part.class_index] == finding
            np.testing.assert_allclose(part.polygon, points)


def test_lung_masks_of_the_covid_images(shared_data):
    result = read("covid_lung_masks", Task.SEGMENTATION, shared_data)
    stems = [Path(image).stem for image in result.images]
    assert set(stems) == {path.stem for path in (shared_data / "cxr_real/lung_masks").iterdir()}
    assert len(stems) == 78
    assert [[part.file for part in parts] for parts in result.targets] == [[f"lung_masks/{stem}.png"] for stem in stems]
    patients = {Path(row["filename"]).stem: row["patientid"] for row in rows_of(shared_data / "cxr_real/findings.csv")}
    assert result.patients == [f"covid:{patients[stem]}" for stem in stems]


def test_lung_masks_with_ambiguous_pixels(shared_data):
    result = read("multi_lung_masks", Task.SEGMENTATION, shared_data / "cxr_multi")
    rows = rows_of(shared_data / "cxr_multi/B_v7_lungseg/index.csv")
    assert result.images == [row["image"] for row in rows]
    parts = [part for (part,) in result.targets]
    assert [part.file for part in parts] == [row["mask"] for row in rows]
    assert {(part.positive, part.ignore) for part in parts} == {(255, 127)}


def test_overlapping_structures(shared_data):
    result = read("multi_covid_structures", Task.SEGMENTATION, shared_data / "cxr_multi")
    rows = rows_of(shared_data / "cxr_multi/F_covid_multiseg/structure.csv")
    assert set(result.classes) == {row["Template Name"] for row in rows}
    assert sum(map(len, result.targets)) == len(rows) == 153
    for image in dozen(result.images):
        mine = {(row["Template Name"], row["Mask"]) for row in rows if row["Image"] == image}
        parts = result.targets[result.images.index(image)]
        assert {(result.classes[part.class_index], part.file) for part in parts} == mine
        drawn = {name for name, _ in mine}
        assert named(result, image) == {name: 1.0 if name in drawn else None for name in result.classes}


def test_children(shared_data):
    result = read("multi_paediatric", Task.CLASSIFICATION, shared_data / "cxr_multi")
    files = {f"{path.parent.name}/{path.name}" for path in (shared_data / "cxr_multi/G_kermany_cls").glob("*/*.jpg")}
    assert set(result.images) == files
    assert result.labels[:, 0].tolist() == [float(image.startswith("PNEUMONIA/")) for image in result.images]
    persons = {re.match(r"person(\d+)_", Path(image).name) for image in result.images} - {None}
    assert persons
    for match in persons:
        image = f"PNEUMONIA/{match.string}"
        assert result.patients[result.images.index(image)] == f"kermany:P{match.group(1)}"


def test_a_patient_of_several_sets_is_in_one_split(shared_data):
    tables = [
        read(name, task, shared_data / ("cxr_multi" if name in MULTI else "."))
        for name in (*MULTI, *REAL)
        for task in CATALOG.card(name).tasks
    ]
    sides = assign_splits(tables, {Split.TRAIN: 0.7, Split.VAL: 0.15, Split.TEST: 0.15}, 0)
    seen: dict[str, set[str]] = {}
    for table in tables:
        if len(set(table.patients)) >= 60:  # a hash may leave a split of few patients empty (docs/splits.md)
            assert {sides[patient] for patient in table.patients} == set(Split), table.key
        for patient in table.patients:
            seen.setdefault(patient, set()).add(table.key.dataset)
    across = [p for p, sets in seen.items() if sets & set(MULTI) and sets & set(REAL)]
    assert len(across) > 20  # the same people under two different ways of writing their number
