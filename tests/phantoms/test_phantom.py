"""Phantoms: the ground truth of an image is correct, and the files are as published."""

import csv
import hashlib
import json

import cv2
import numpy as np
import pytest

from foundationx.core.errors import DiskError
from foundationx.core.types import Task
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.anatomy import make_patient
from foundationx.phantoms.findings import FINDINGS, LUNG_FINDINGS
from foundationx.phantoms.phantom import ORGANS, bounds, draw_findings, make_phantom
from foundationx.phantoms.render import _branch_lines, _grow
from foundationx.phantoms.write import DATASETS, NIH_HEADER, write_phantom_datasets

SIZE = 128


def test_the_same_arguments_give_the_same_bytes():
    one, two = make_phantom(5, 0, SIZE), make_phantom(5, 0, SIZE)
    np.testing.assert_array_equal(one.image, two.image)
    other = make_phantom(5, 1, SIZE)
    assert (one.image != other.image).any() and one.findings == other.findings, "another image of the same patient"


def test_lines_of_all_vessels_at_once_are_those_of_one_after_the_other():
    """Twelve points a branch: eleven steps of a direction that turns evenly, from the end of the branch before."""
    hila = {-1: np.array([0.4, 0.4]), 1: np.array([0.6, 0.45])}
    random, branches = np.random.default_rng(3), []
    for side in hila:
        _grow(branches, random, None, side, 0.3 * side, 0.0115, 0.105, 4)
    assert len(branches) == 2 * 15 and [round(branch.width / 0.0115, 6) for branch in branches[:4]] == [
        1,
        0.66,
        0.4356,
        0.287496,
    ]
    lines = _branch_lines(branches, hila)
    for number, branch in enumerate(branches):
        points = [hila[branch.side] if branch.parent is None else lines[branch.parent][-1]]
        for step in range(1, 12):
            turn = branch.angle + branch.bend * step / 11
            points.append(points[-1] + np.array([branch.side * np.cos(turn), np.sin(turn)]) * branch.length / 11)
        np.testing.assert_allclose(lines[number], points, rtol=0, atol=1e-12)


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("patient", [1, 2, 3])
def test_a_finding_changes_the_image_inside_its_mask(finding, patient):
    phantom, healthy = make_phantom(patient, 0, SIZE, [finding]), make_phantom(patient, 0, SIZE, [])
    mask = phantom.mask(finding)
    assert phantom.findings == (finding,) and mask.sum() > 60
    if finding in LUNG_FINDINGS:
        change = np.abs(phantom.image.astype(int) - healthy.image.astype(int))
        assert (
            change[mask].mean() > 5 * change[~cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))).astype(bool)].mean()
        )


@pytest.mark.parametrize("patient", range(1, 13))
def test_organs_are_apart_and_lung_findings_lie_in_the_lungs(patient):
    phantom = make_phantom(patient, 0, SIZE, LUNG_FINDINGS)
    left, right, heart = (phantom.mask(name) for name in ORGANS)
    assert not (left & right).any() and not (left & heart).any() and not (right & heart).any()
    lungs = left | right
    assert all(cv2.connectedComponents(organ.astype(np.uint8))[0] == 2 for organ in (left, right, heart)), (
        "in one piece"
    )
    assert 0.12 < lungs.mean() < 0.5 and 0.03 < heart.mean() < 0.2
    for name in ("Consolidation", "Effusion", "Pneumothorax"):
        assert not (phantom.mask(name) & ~lungs).any(), name
    nodules = phantom.mask("Nodule")
    assert (nodules & lungs).sum() > 0.88 * nodules.sum(), "all but the edge of a nodule"


def test_boxes_are_the_bounds_of_masks():
    phantom = make_phantom(9, 0, SIZE, ["Nodule", "Consolidation"])
    for name in ("Nodule", "Consolidation", "Heart"):
        for mask, (x1, y1, x2, y2) in zip(phantom.instances[name], phantom.boxes(name), strict=True):
            rows, columns = np.nonzero(mask)
            assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert bounds(np.eye(3, dtype=bool)) == (0, 0, 3, 3)


def cardiothoracic_ratio(patient):
    """Width of the heart over the inner width of the thorax."""
    return np.ptp(patient.heart[:, 0]) / (patient.left_lung[:, 0].max() - patient.right_lung[:, 0].min())


@pytest.mark.parametrize("patient", range(1, 9))
def test_the_heart_is_large_with_cardiomegaly_alone(patient):
    assert cardiothoracic_ratio(make_patient(patient, enlarged_heart=True)) > 0.55
    assert cardiothoracic_ratio(make_patient(patient, enlarged_heart=False)) < 0.50


@pytest.mark.parametrize("patient", range(20, 32))
def test_the_heart_s_share_of_the_thorax_is_also_that_of_the_masks(patient):
    for findings, least, most in (((), 0.35, 0.50), (("Cardiomegaly",), 0.55, 0.70)):
        phantom = make_phantom(patient, 0, SIZE, findings)
        left, right, heart = (bounds(phantom.mask(name)) for name in ORGANS)
        assert least < (heart[2] - heart[0]) / (left[2] - right[0]) < most


@pytest.mark.parametrize("patient", range(40, 52))
def test_findings_are_what_has_a_mask_and_those_of_one_image_are_apart(patient):
    phantom = make_phantom(patient, 0, SIZE)
    assert phantom.findings == draw_findings(patient)
    assert {name for name in FINDINGS if phantom.mask(name).any()} == set(phantom.findings)
    assert set(phantom.instances) == {*ORGANS, *phantom.findings}
    assert all(mask.any() for masks in phantom.instances.values() for mask in masks)
    spots = [mask for name in ("Nodule", "Consolidation") for mask in phantom.instances.get(name, [])]
    assert sum(mask.astype(int) for mask in spots).max() <= 1 if spots else True


@pytest.mark.parametrize("patient", range(1, 9))
def test_landmarks_are_where_they_belong(patient):
    phantom = make_phantom(patient, 0, SIZE, [])
    marks = phantom.landmarks
    middle = SIZE / 2
    assert marks["right apex"][0] < middle < marks["left apex"][0], "the patient's right is on the image's left"
    assert marks["right apex"][1] < marks["aortic knob"][1] < marks["carina"][1] < marks["left costophrenic angle"][1]
    assert marks["right heart border"][0] < middle < marks["left heart border"][0]
    left, right, heart = (cv2.dilate(phantom.mask(name).astype(np.uint8), np.ones((5, 5))) for name in ORGANS)
    belong = {
        "right apex": right,
        "right costophrenic angle": right,
        "left apex": left,
        "left heart border": heart,
    }
    for name, organ in belong.items():
        x, y = marks[name]
        assert organ[min(int(y), SIZE - 1), min(int(x), SIZE - 1)], name


def test_findings_are_drawn_as_announced():
    drawn = [draw_findings(patient) for patient in range(600)]
    normal = sum(not findings for findings in drawn) / 600
    assert 0.29 < normal < 0.41
    assert {name for findings in drawn for name in findings} == set(FINDINGS)
    with pytest.raises(ValueError, match="unknown findings"):
        make_phantom(1, 0, SIZE, ["Nodul"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 9, size=64, processes=1)
    return folder


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_writing_twice_gives_identical_files_also_in_two_processes(written, tmp_path):
    write_phantom_datasets(tmp_path, 9, size=64, processes=2)
    assert digest(tmp_path) == digest(written)


def test_counts_by_name_leave_the_others_out(tmp_path):
    write_phantom_datasets(tmp_path, {"phantom_masks": 2}, size=64, processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phantom_masks", "phantom_splits.csv"]
    assert (tmp_path / "phantom_splits.csv").read_text().splitlines()[1].startswith("phantom_masks:p1,")
    assert len(list((tmp_path / "phantom_masks" / "images").iterdir())) == 2


def test_what_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"unknown datasets \['phantom_label'\]"):
        write_phantom_datasets(tmp_path, {"phantom_label": 2}, size=64, processes=1)
    (tmp_path / "phantom_masks" / "images" / "00001_0.png").mkdir(parents=True)
    with pytest.raises(DiskError, match=r"00001_0\.png: cannot be written"):
        write_phantom_datasets(tmp_path, {"phantom_masks": 1}, size=64, processes=1)


@pytest.mark.shared
def test_the_table_of_labels_is_headed_as_the_published_one(shared_data):
    published = next((shared_data / "annotations" / "nih_chestxray14").glob("Data_Entry*.csv"))
    assert published.read_text(encoding="utf-8").splitlines()[0].strip() == NIH_HEADER


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_is_read_by_its_card(written, name):
    card = Catalog().card(name)
    for task in card.tasks:
        table = read_annotations(card, task, written)
        assert len(table) == 9 and not table.bad and not np.isnan(table.labels).any()
        assert len(set(table.patients)) < 9 or name != "phantom_labels", "some patients have two images"


def test_what_is_read_is_what_was_drawn(written):
    table = read_annotations(Catalog().card("phantom_labels"), Task.CLASSIFICATION, written)
    rows = list(csv.DictReader((written / "phantom_labels" / "Data_Entry_2017_v2020.csv").read_text().splitlines()))
    for image, labels, row in zip(table.images, table.labels, rows, strict=True):
        patient = 1_000_000 + int(row["Patient ID"]) - 1
        assert image == f"images/{row['Image Index']}"
        assert {name for name, label in zip(table.classes, labels, strict=True) if label} == set(draw_findings(patient))
    boxes = json.loads((written / "phantom_boxes" / "annotations.json").read_text())
    hearts = [a for a in boxes["annotations"] if a["category_id"] == 3]
    assert len(hearts) == len(boxes["images"]) == 9


def drawn(name, index, table):
    """The phantom behind an image of a dataset, drawn again."""
    patient, number = table.images[index].removesuffix(".png").rpartition("/")[2].split("_")
    first = (DATASETS.index(name) + 1) * 1_000_000
    return make_phantom(first + int(patient.removeprefix("p")) - 1, int(number), 64)


def samples(name, task, folder):
    card = Catalog().card(name)
    table = read_annotations(card, task, folder)
    dataset = CardDataset(table, folder / card.root, ViewPipeline(64))
    return [(drawn(name, index, table), dataset.sample(index, 0), table) for index in range(len(table))]


def test_boxes_and_pixels_come_back_as_drawn(written):
    for phantom, sample, table in samples("phantom_boxes", Task.DETECTION, written):
        np.testing.assert_array_equal(sample.image, phantom.image)
        result = [
            (table.classes[label], *box)
            for label, box in zip(sample.target.box_classes, sample.target.boxes, strict=True)
        ]
        assert sorted(result) == sorted((name, *box) for name in table.classes for box in phantom.boxes(name))


def test_masks_come_back_as_drawn(written):
    for phantom, sample, table in samples("phantom_masks", Task.SEGMENTATION, written):
        for name, mask in zip(table.classes, sample.target.masks, strict=True):
            np.testing.assert_array_equal(mask, phantom.mask(name))


def test_outlines_are_the_masks_except_for_simplification(written):
    for phantom, sample, table in samples("phantom_all", Task.SEGMENTATION, written):
        assert {name for name, mask in zip(table.classes, sample.target.masks, strict=True) if mask.any()} == set(
            phantom.findings
        )
        for name in phantom.findings:
            mask, outline = phantom.mask(name), sample.target.masks[table.classes.index(name)] == 1
            assert (mask & outline).sum() > 0.9 * (mask | outline).sum(), name
