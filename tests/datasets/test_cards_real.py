"""Every real annotation file of a public set is read by its card, in the folders and names of the download.

Each slow reading here finds columns in its own way: no code is shared with the readers.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.core.types import Annotations, Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog, default_folders

pytestmark = pytest.mark.shared
CATALOG = Catalog(default_folders()[:1])


def read(name: str, task: Task, data_root: Path) -> Annotations:
    return read_annotations(CATALOG.card(name), task, data_root)


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def touch(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def dozen(items: list) -> list:
    """About twelve items spread over the list, the first and the last among them."""
    return [items[i] for i in sorted({round(k * (len(items) - 1) / 11) for k in range(12)})]


def known(found: Annotations, image: str) -> dict[str, float]:
    """Labels of an image by class, without the unknown ones."""
    values = found.labels[found.images.index(image)].tolist()
    return {name: value for name, value in zip(found.classes, values, strict=True) if not math.isnan(value)}


@pytest.mark.parametrize("layout", ["images/{}", "images_00{}/images/{}"])
def test_nih_labels_and_boxes_in_both_published_layouts(shared_data, tmp_path, layout):
    source, root = shared_data / "annotations/nih_chestxray14", tmp_path / "nih_chestxray14"
    lines = [line.split(",") for line in (source / "Data_Entry_2017_v2020.head3000.csv").read_text().splitlines()[1:]]
    boxed = [line.split(",") for line in (source / "BBox_List_2017.csv").read_text().splitlines()[1:]]
    names = sorted({line[0] for line in lines + boxed})
    many = "00" in layout
    positions = {name: layout.format(1 + k % 3, name) if many else layout.format(name) for k, name in enumerate(names)}
    touch(root, list(positions.values()))
    put(source / "Data_Entry_2017_v2020.head3000.csv", root / "Data_Entry_2017_v2020.csv")
    put(source / "BBox_List_2017.csv", root / "BBox_List_2017.csv")
    (root / "test_list.txt").write_text("\n".join(line[0] for line in lines[::7]) + "\n")

    labels = read("nih_chestxray14", Task.CLASSIFICATION, tmp_path)
    assert labels.images == [positions[line[0]] for line in lines]
    assert labels.patients == [f"nih:{line[3]}" for line in lines]
    assert [side is Split.TEST for side in labels.splits] == [k % 7 == 0 for k in range(3000)]
    counts = Counter(finding for line in lines for finding in line[1].split("|"))
    sums = dict(zip(labels.classes, labels.labels.sum(axis=0), strict=True))
    assert sums == {name: counts[name] for name in labels.classes}
    for line in dozen(lines):
        present = line[1].split("|")
        assert known(labels, positions[line[0]]) == {name: float(name in present) for name in labels.classes}

    boxes = read("nih_bbox", Task.DETECTION, tmp_path)
    expected = CATALOG.card("nih_bbox").tasks[Task.DETECTION].expected
    assert (len(boxes), sum(map(len, boxes.targets))) == (expected.images, expected.boxes) == (880, 984)
    per_class = Counter(kind for _, kind in {(line[0], line[1]) for line in boxed})
    assert expected.positives == {{"Infiltrate": "Infiltration"}.get(k, k): n for k, n in per_class.items()}
    same = set(labels.patients) & set(boxes.patients)
    assert same == {f"nih:{int(line[0][:8])}" for line in boxed} & {f"nih:{int(line[0][:8])}" for line in lines}
    for name in dozen(sorted({line[0] for line in boxed})):
        i = boxes.images.index(positions[name])
        corners = [[x, y, x + w, y + h] for x, y, w, h in (map(float, b[2:6]) for b in boxed if b[0] == name)]
        np.testing.assert_allclose(boxes.targets[i].boxes, corners, rtol=1e-6)


@pytest.fixture
def chestx_det(shared_data, tmp_path) -> list[dict]:
    """The published test side beside a training side of one image without findings, in ``tmp_path``."""
    root = tmp_path / "chestx_det"
    put(shared_data / "annotations/chestx_det/ChestX_Det_test.json", root / "ChestX_Det_test.json")
    empty = {"file_name": "1.png", "syms": [], "boxes": [], "polygons": []}
    (root / "ChestX_Det_train.json").write_text(json.dumps([empty]))
    records = json.loads((root / "ChestX_Det_test.json").read_text())
    touch(root / "train", ["1.png"])
    touch(root / "test", [record["file_name"] for record in records])
    return records


def test_chestx_det_in_both_splits(chestx_det, tmp_path):
    tables = {task: read("chestx_det", task, tmp_path) for task in CATALOG.card("chestx_det").tasks}
    positives = Counter(finding for record in chestx_det for finding in set(record["syms"]))
    published = CATALOG.card("chestx_det").expected.splits[Split.TEST]
    for table in tables.values():
        assert table.images[0] == "train/1.png"
        assert table.splits == [Split.TRAIN] + [Split.TEST] * published
        assert dict(zip(table.classes, table.labels.sum(axis=0), strict=True)) == dict(positives)
    detection, segmentation = tables[Task.DETECTION], tables[Task.SEGMENTATION]
    assert sum(map(len, detection.targets)) == sum(len(record["syms"]) for record in chestx_det) == 1734
    for record in dozen(chestx_det):
        i = detection.images.index(f"test/{record['file_name']}")
        assert [detection.classes[k] for k in detection.targets[i].box_classes] == record["syms"]
        np.testing.assert_allclose(detection.targets[i].boxes.reshape(-1), np.ravel(record["boxes"]))
        for part, finding, points in zip(segmentation.targets[i], record["syms"], record["polygons"], strict=True):
            assert segmentation.classes[part.class_index] == finding
            np.testing.assert_allclose(part.polygon, points)


def test_boxes_of_chestx_det_are_the_bounds_of_its_polygons_or_twenty_pixels(chestx_det, tmp_path):
    """The card's notes say so; boxes and polygons are read by two tasks."""
    detection, segmentation = (read("chestx_det", task, tmp_path) for task in (Task.DETECTION, Task.SEGMENTATION))
    assert detection.images == segmentation.images
    widened = 0
    for boxes, parts in zip((target.boxes for target in detection.targets), segmentation.targets, strict=True):
        for box, part in zip(boxes.reshape(-1, 2, 2), parts, strict=True):
            low, high = part.polygon.min(axis=0), part.polygon.max(axis=0)
            differs = (box[0] != low) | (box[1] != high)
            widened += differs.any()
            assert (box[1] - box[0])[differs].tolist() == [20] * differs.sum()
            assert (box[0] <= low).all() and (high <= box[1]).all()
    assert widened == 44
    assert f"{widened} of 1,734" in CATALOG.card("chestx_det").notes


def test_node21_and_the_origin_of_its_negatives(shared_data, tmp_path):
    source, root = shared_data / "annotations/node21", tmp_path / "node21"
    lines = [line.split(",") for line in (source / "metadata.csv").read_text().splitlines()[1:]]
    origin = [line.split(",") for line in (source / "non_nodule_filenames_orig_and_new.csv").read_text().splitlines()]
    images, original = "cxr_images/proccessed_data/images", root / "cxr_images/original_data"
    put(source / "metadata.csv", root / "cxr_images/proccessed_data/metadata.csv")
    put(source / "non_nodule_filenames_orig_and_new.csv", original / "non_nodule_filenames_orig_and_new.csv")
    touch(root / images, [line[2] for line in lines])
    nodules = [("00000009_003", "n0239"), ("JPCLN007", "n0342"), ("987_IM-2-1001", "n0996"), ("12_ab34", "n0418")]
    table = ["original_image_name,node21_img_id", *map(",".join, nodules)]
    (original / "filenames_orig_and_new.csv").write_text("\n".join(table))
    (tmp_path / "padchest").mkdir()
    padchest = tmp_path / "padchest/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    padchest.write_text(f"ImageID,PatientID\n12_ab34.png,77\n{origin[2][0]}.png,78\n")
    rows = [{"name": name, "nodule": label == "1", "box": (x, y, w, h)} for _, h, name, label, w, x, y in lines]

    for task in (Task.CLASSIFICATION, Task.DETECTION):
        result, expected = read("node21", task, tmp_path), CATALOG.card("node21").tasks[task].expected
        assert len(result) == expected.images == len({row["name"] for row in rows})
        assert result.labels.sum() == expected.positives["Nodule"] == len({r["name"] for r in rows if r["nodule"]})
        assert not np.isnan(result.labels).any()
    assert sum(map(len, result.targets)) == expected.boxes == sum(row["nodule"] for row in rows) == 1476
    for row in dozen(rows):
        i = result.images.index(f"{images}/{row['name']}")
        mine = [tuple(map(float, r["box"])) for r in rows if r["name"] == row["name"] and r["nodule"]]
        assert result.targets[i].boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h in mine]
    who = dict(zip(result.images, result.patients, strict=True))
    for old, base, new in origin[1:]:
        names = {
            "chestxray14": f"nih:{old[:8].lstrip('0')}",
            "jsrt": f"jsrt:{old}",
            "openi": f"openi:{old.split('_')[0]}",
        }
        patient = "padchest:78" if old == origin[2][0] else names.get(base, f"node21:{old}")
        assert who[f"{images}/{new}.mha"] == patient
    for (_, new), patient in zip(nodules, ("nih:9", "jsrt:JPCLN007", "openi:987", "padchest:77"), strict=True):
        assert who[f"{images}/{new}.mha"] == patient
    named = {"nih": 1187 + 1, "jsrt": 93 + 1, "openi": 1102 + 1, "padchest": 2}
    assert Counter(patient.partition(":")[0] for patient in who.values()) == named | {
        "node21": 4882 - sum(named.values())
    }


def test_tbx11k(shared_data, tmp_path):
    source, root = shared_data / "annotations/tbx11k", tmp_path / "tbx11k"
    put(source / "TBX11K_train.json", root / "annotations/json/TBX11K_train.json")
    content = json.loads((source / "TBX11K_train.json").read_text())
    shutil.copytree(source / "imgs", root / "imgs")
    touch(root / "imgs", ["sick/s0001.png", "test/test_0001.png", "extra/shenzhen/a.png", "health/h0002.png"])
    other = {"id": 9, "file_name": "health/h0002.png", "width": 512, "height": 512}
    (root / "annotations/json/TBX11K_val.json").write_text(
        json.dumps({"categories": content["categories"], "images": [other], "annotations": []})
    )
    (root / "lists").mkdir()
    (root / "lists/TBX11K_train.txt").write_text("tb/tb0005.png\ntb/tb0007.png\nhealth/h0001.png\nsick/s0001.png\n")
    (root / "lists/TBX11K_val.txt").write_text("health/h0002.png\n")

    detection = read("tbx11k", Task.DETECTION, tmp_path)
    assert detection.splits == [Split.TRAIN] * 3 + [Split.VAL]
    kinds = {item["id"]: item["name"] for item in content["categories"]}
    assert set(detection.classes) == set(kinds.values()) - {"PulmonaryTuberculosis"}  # of which nobody drew a box
    for image in content["images"]:
        mine = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        i = detection.images.index(f"imgs/{image['file_name']}")
        assert [detection.classes[k] for k in detection.targets[i].box_classes] == [
            kinds[m["category_id"]] for m in mine
        ]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in mine)]
        np.testing.assert_allclose(detection.targets[i].boxes.reshape(-1), np.ravel(corners), rtol=1e-6)
    labels = read("tbx11k", Task.CLASSIFICATION, tmp_path)
    sides = dict(zip(labels.images, labels.splits, strict=True))
    assert sides.pop("imgs/health/h0002.png") is Split.VAL
    assert set(sides.values()) == {Split.TRAIN} and len(sides) == 4
    for image in labels.images:
        folder = {"tb": "Tuberculosis", "sick": "Sick without tuberculosis", "health": "Healthy"}[image.split("/")[1]]
        assert known(labels, image) == {name: float(name == folder) for name in labels.classes}


def run_lengths(mask: np.ndarray) -> str:
    """Runs along the rows from pixel 1, found pixel by pixel."""
    runs, inside = [], False
    for number, value in enumerate([*mask.ravel().tolist(), 0], start=1):
        if value and not inside:
            start = number
        if inside and not value:
            runs.append(f"{start} {number - start}")
        inside = bool(value)
    return " ".join(runs)


def test_organs_of_chexmask(shared_data, tmp_path):
    """The published masks and landmarks of one image, its masks put into the table's form by a slow reading."""
    source = shared_data / "annotations/chexmask"
    short = {"Heart": "H", "Left Lung": "LL", "Right Lung": "RL"}
    masks = {k: cv2.imread(str(source / f"{v}_mask.png"), cv2.IMREAD_GRAYSCALE) > 0 for k, v in short.items()}
    height, width = masks["Heart"].shape
    header = "image_id,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width"
    runs = [run_lengths(masks[name]) for name in ("Left Lung", "Right Lung", "Heart")]
    rows = [f"{name},{dice},0.9,0 0,{','.join(runs)},{height},{width}" for name, dice in (("a1", 0.8), ("b2", 0.6))]
    touch(tmp_path / "vindr_cxr", ["train/a1.dicom", "test/b2.dicom"])
    touch(tmp_path / "chexmask/OriginalResolution", ["VinDr-CXR.csv"])
    (tmp_path / "chexmask/OriginalResolution/VinDr-CXR.csv").write_text("\n".join([header, *rows]) + "\n")

    result = read("chexmask_vindr", Task.SEGMENTATION, tmp_path)
    assert (result.images, result.splits) == (["train/a1.dicom"], [Split.TRAIN])  # the second is of too low a quality
    detection = read("chexmask_vindr", Task.DETECTION, tmp_path)
    names = [detection.classes[k] for k in detection.targets[0].box_classes]
    boxes = dict(zip(names, detection.targets[0].boxes.tolist(), strict=True))
    for part in result.targets[0]:
        drawn = np.zeros(height * width, dtype=bool)
        for start, length in zip(part.runs.starts.tolist(), part.runs.lengths.tolist(), strict=True):
            drawn[start : start + length] = True
        name = result.classes[part.class_index]
        assert (drawn.reshape(height, width) == masks[name]).all()
        marks = np.loadtxt(source / f"{short[name]}_landmarks.txt")
        np.testing.assert_allclose(boxes[name], [*marks.min(axis=0), *(marks.max(axis=0) + 1)])
    left_edges = [boxes[name][0] for name in ("Right Lung", "Heart", "Left Lung")]
    assert left_edges == sorted(left_edges)  # the patient's sides
