"""`data new FOLDER` drafts a card that loads and reads, and says what it guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from foundationx.apps.cli.main import main
from foundationx.core.types import Annotations, Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card, load_card
from tests.datasets.test_stores import images, png, write_parquet, write_tar
from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def hospital(tmp_path) -> Path:
    path = tmp_path / "data" / "My Hospital"
    path.mkdir(parents=True)
    return path


def add_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(10))


def write_dicom(path: Path, patient: str | None) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    if patient is not None:
        data.PatientID = patient
    data.Rows = data.Columns = 4
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.PixelData = 7, 0, bytes(range(16))
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data)


def draft(hospital: Path, capsys) -> tuple[Card, str]:
    """The drafted card and its text."""
    out = hospital.parent / "cards" / "my_hospital.yaml"
    assert main(["data", "new", str(hospital), "--out", str(out)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "next: foundationx data check my_hospital" in printed
    card, text = load_card(out), out.read_text()
    assert (card.name, card.access, card.root) == ("my_hospital", "private", "My Hospital")
    assert "guessed" in text and "decide:" in text and max(map(len, text.splitlines())) <= 130
    return card, text


def read(card: Card, hospital: Path, task: Task) -> Annotations:
    return read_annotations(card, task, hospital.parent)


def test_a_table_of_findings_with_patients_and_splits(hospital, capsys):
    add_images(hospital, "png/a.png", "png/b.png", "png/c.png")
    rows = ["file,patient_id,finding,split", "a.png,7,Mass;Nodule,train", "b.png,7,Normal,train", "c.png,8,Mass,Test"]
    (hospital / "labels.csv").write_text("\n".join(rows) + "\n")
    (hospital / "prices.csv").write_text("item,price\nx,1\n")
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.CLASSIFICATION)
    assert (found.images, found.classes) == (["png/a.png", "png/b.png", "png/c.png"], ("Mass", "Nodule"))
    assert found.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert found.patients == ["my_hospital:7", "my_hospital:7", "my_hospital:8"]
    assert found.splits == [Split.TRAIN, Split.TRAIN, Split.TEST]
    assert "not used: prices.csv (no column names the images that lie here)" in text
    assert "# guessed from the names; decide: which names say that no class is present?" in text


def test_a_table_of_label_columns_whose_names_lack_the_suffix(hospital, capsys):
    add_images(hospital, "a.jpg", "b.jpg")
    (hospital / "l.csv").write_text("id,age,Mass,Nodule\na,61,1,-1\nb,70,0,\n")
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.CLASSIFICATION)
    assert (found.images, found.classes) == (["a.jpg", "b.jpg"], ("Mass", "Nodule"))
    np.testing.assert_array_equal(found.labels, [[1, np.nan], [0, np.nan]])
    assert card.tasks[Task.CLASSIFICATION].image_suffix == ".jpg"
    assert "patient" not in card.model_fields_set and "decide: nothing names the patients" in text


def test_a_table_of_boxes(hospital, capsys):
    add_images(hospital, "i/a.png", "i/b.png")
    (hospital / "b.csv").write_text("image_id,class_name,x_min,y_min,x_max,y_max\na,Mass,1,2,5,6\nb,No finding,,,,\n")
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.DETECTION)
    assert (found.images, found.classes) == (["i/a.png", "i/b.png"], ("Mass",))
    assert found.targets[0].boxes.tolist() == [[1, 2, 5, 6]] and len(found.targets[1]) == 0
    assert "decide: is a class without a box in a listed image absent (negative) or not annotated (unknown)?" in text


def test_boxes_as_shares(hospital, capsys):
    add_images(hospital, "a.png")
    (hospital / "b.csv").write_text("image,label,x_center,y_center,width,height\na.png,Mass,0.5,0.5,0.2,0.2\n")
    card, _ = draft(hospital, capsys)
    assert card.tasks[Task.DETECTION].options["reference_size"] == "unit"
    assert len(read(card, hospital, Task.DETECTION).targets[0]) == 1


def test_coco_files_of_two_splits(hospital, capsys):
    add_images(hospital, "train/a.png", "val/b.png")
    outline = [[1, 1, 4, 1, 4, 4]]
    for split, name in (("train", "a.png"), ("val", "b.png")):
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "segmentation": outline}
        content = {"images": [{"id": 1, "file_name": name}], "categories": [{"id": 1, "name": "Mass"}]}
        (hospital / f"instances_{split}.json").write_text(json.dumps(content | {"annotations": [annotation]}))
    (hospital / "notes.json").write_text("{}")
    card, text = draft(hospital, capsys)
    for task in (Task.DETECTION, Task.SEGMENTATION):
        found = read(card, hospital, task)
        assert (found.images, found.splits) == (["train/a.png", "val/b.png"], [Split.TRAIN, Split.VAL])
    assert "not used: notes.json" in text


def test_folders_of_classes_below_folders_of_splits(hospital, capsys):
    add_images(
        hospital, *(f"{split}/{name}/{split}{name}.png" for split in ("train", "test") for name in ("NORMAL", "TB"))
    )
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.CLASSIFICATION)
    assert found.classes == ("TB",) and sorted(found.labels[:, 0]) == [0, 0, 1, 1]
    assert set(found.splits) == {Split.TRAIN, Split.TEST}
    assert "each folder is a class" in text


def test_folders_of_masks(hospital, capsys):
    add_images(hospital, "images/a.png", "images/b.png", "masks/a_mask.png", "masks/b_mask.png")
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.SEGMENTATION)
    assert (found.images, found.classes) == (["images/a.png", "images/b.png"], ("Masks",))
    assert "the classes are called like their folders" in text


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_dicom_files_without_labels_have_their_patients_in_the_headers(hospital, capsys, suffix):
    for number in range(4):
        write_dicom(hospital / "study" / f"1.2.{number}{suffix}", f"P{number // 2}")
    card, text = draft(hospital, capsys)
    found = read(card, hospital, Task.CLASSIFICATION)
    assert found.patients == ["my_hospital:P0", "my_hospital:P0", "my_hospital:P1", "my_hospital:P1"]
    assert np.isnan(found.labels).all()
    assert "no annotations were recognised" in text and "4 headers have a PatientID, 2 different ones" in text


def test_parquet_and_webdataset(hospital, capsys):
    features = {"label": {"_type": "ClassLabel", "names": ["Normal", "Mass"]}}
    write_parquet(hospital / "data" / "train.parquet", {"image": images(1, 2), "label": [1, 0]}, features)
    card, _ = draft(hospital, capsys)
    assert read(card, hospital, Task.CLASSIFICATION).labels.tolist() == [[1], [0]]
    for path in (hospital / "data").iterdir():
        path.unlink()
    (hospital.parent / "cards" / "my_hospital.yaml").unlink()
    write_tar(hospital / "a.tar", {"1.png": png(1), "1.cls": b"1", "2.png": png(2), "2.cls": b"0"})
    card, _ = draft(hospital, capsys)
    assert read(card, hospital, Task.CLASSIFICATION).labels.tolist() == [[1], [0]]


def test_what_cannot_be_drafted_is_refused(hospital, capsys):
    assert main(["data", "new", str(hospital)]) == 2
    assert "holds neither images nor tables" in capsys.readouterr().err
    assert main(["data", "new", str(hospital / "none")]) == 2
    add_images(hospital, "a.png")
    out = hospital / "card.yaml"
    out.write_text("mine")
    assert main(["data", "new", str(hospital), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == "mine"


# ---- the patient of a DICOM header, in any card


def test_the_patient_is_read_from_the_header_and_a_missing_one_is_named(tmp_path):
    folder = Folder(tmp_path)
    for name, patient in (("a", "7"), ("b", "7"), ("c", None)):
        write_dicom(folder.path / "images" / f"{name}.dcm", patient)
    folder.write("f.csv", "file,found\na,Mass\nb,Mass\n")
    options = {"image_column": "file", "findings_column": "found"}
    card = make_card(
        "findings_csv", ["Mass"], file="f.csv", images="images", image_suffix=".png | .dcm", options=options,
        patient={"dicom": "PatientID"},
    )  # fmt: skip
    assert folder.read(card).patients == ["tiny:7", "tiny:7"]
    folder.write("f.csv", "file,found\na,Mass\nc,Mass\n")
    assert "PatientID of its DICOM header gives no patient for images/c.dcm" in fault(folder, card).found
    Image.new("L", (4, 4)).save(folder.path / "images" / "d.png")
    folder.write("f.csv", "file,found\nd,Mass\n")
    assert "gives no patient for images/d.png" in fault(folder, card).found
