"""Cards of sets that cannot be kept beside the project, on small hand-made files in the published form."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from foundationx.core.types import Annotations, Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog, default_folders

CATALOG = Catalog(default_folders()[:1])


class Download:
    """A data root with the folder of one card in it; images are empty files, because readers decode no pixel."""

    def __init__(self, root: Path, card: str):
        self.root, self.card = root, CATALOG.card(card)
        self.path = root / self.card.root

    def files(self, *names: str) -> None:
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).touch()

    def write(self, name: str, *lines: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text("\n".join(lines) + "\n")

    def read(self, task: str) -> Annotations:
        return read_annotations(self.card, Task(task), self.root)


@pytest.fixture
def download(tmp_path):
    return lambda card: Download(tmp_path, card)


def known(found: Annotations) -> list[dict[str, float]]:
    """Labels of each image by class, without the unknown ones."""
    return [
        {name: v for name, v in zip(found.classes, row, strict=True) if not math.isnan(v)}
        for row in found.labels.tolist()
    ]


def present(found: Annotations) -> list[set[str]]:
    return [{name for name, value in row.items() if value == 1} for row in known(found)]


@pytest.mark.parametrize(("card", "top"), [("chexpert", "CheXpert-v1.0"), ("chexpert_small", "CheXpert-v1.0-small")])
def test_chexpert(download, card, top):
    data = download(card)
    one, two, three = (
        f"{top}/{part}/view1_frontal.jpg"
        for part in ("train/patient00001/study1", "train/patient00001/study2", "valid/patient64541/study1")
    )
    data.files(one, two, three)
    header = (
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
        "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
        "Support Devices"
    )
    data.write(
        f"{top}/train.csv",
        header,
        f"{one},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"{two},Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    )
    data.write(
        f"{top}/valid.csv",
        header,
        f"{three},Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    )
    result = data.read("classification")
    assert result.splits == [Split.TRAIN, Split.TRAIN, Split.VAL]
    assert result.patients == ["chexpert:patient00001", "chexpert:patient00001", "chexpert:patient64541"]
    assert present(result) == [
        {"No Finding", "Support Devices"},
        {"Lung Opacity", "Fracture"},
        {"Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity"},
    ]
    uncertain = {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"}
    assert [set(result.classes) - set(row) for row in known(result)] == [set(), uncertain, set()]


VINDR = [item.name for item in CATALOG.card("vindr_cxr").tasks[Task.CLASSIFICATION].classes]


def vindr(data: Download) -> None:
    """One training image read by three, of whom two see an effusion and one sees nothing; one test image."""
    data.files("train/a1.dicom", "test/b2.dicom")
    output = {"R8": {"Pleural effusion", "Pneumonia"}, "R9": {"Pleural effusion"}, "R10": {"No finding"}}
    rows = [f"a1,{who}," + ",".join(str(int(name in seen)) for name in VINDR) for who, seen in output.items()]
    data.write("annotations/image_labels_train.csv", f"image_id,rad_id,{','.join(VINDR)}", *rows)
    renamed = ["Other disease" if name == "Other diseases" else name for name in VINDR]
    cells = ",".join(str(int(name == "Other disease")) for name in renamed)
    data.write("annotations/image_labels_test.csv", f"image_id,{','.join(renamed)}", f"b2,{cells}")
    data.write(
        "annotations/annotations_train.csv",
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
        "a1,R8,Pleural effusion,100,100,200,200",
        "a1,R8,Nodule/Mass,10,10,20,20",
        "a1,R9,Pleural effusion,110,100,210,200",
        "a1,R10,No finding,,,,",
    )
    data.write("annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max", "b2,No finding,,,,")


def test_vindr_cxr_by_majority(download):
    data = download("vindr_cxr")
    vindr(data)
    labels = data.read("classification")
    assert labels.images == ["train/a1.dicom", "test/b2.dicom"]
    assert labels.splits == [Split.TRAIN, Split.TEST]
    assert present(labels) == [{"Pleural effusion"}, {"Other diseases"}]
    assert [set(VINDR) - set(row) for row in known(labels)] == [{"Pneumonia", "No finding"}, set()]
    boxes = data.read("detection")
    assert [result.boxes.tolist() for result in boxes.targets] == [[[105, 100, 205, 200]], []]
    assert set(boxes.classes) - set(known(boxes)[0]) == {"Nodule/Mass"}  # one of three says so
    assert present(boxes)[1] == set() and len(known(boxes)[1]) == 22


def test_vindr_cxr_by_any_as_foundation_x(download):
    data = download("vindr_cxr_global")
    vindr(data)
    result = data.read("classification")
    assert present(result) == [{"PE", "Pneumonia", "No finding"}, {"Other diseases"}]
    assert not np.isnan(result.labels).any()


RSNA_MAP = "pneumonia-challenge-dataset-mappings_2018.json"
"""RSNA's table of which image of ChestX-ray14 an image is."""


def test_rsna_pneumonia(download):
    data = download("rsna_pneumonia")
    data.files(*(f"stage_2_train_images/{name}.dcm" for name in ("aa", "bb", "cc")))
    data.write(RSNA_MAP, json.dumps([{"subset_img_id": "aa", "img_id": "00000013_005.png"}]))
    data.write(
        "stage_2_detailed_class_info.csv",
        "patientId,class",
        "aa,Lung Opacity",
        "aa,Lung Opacity",
        "bb,No Lung Opacity / Not Normal",
        "cc,Normal",
    )
    data.write(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        "aa,264.0,152.0,213.0,379.0,1",
        "aa,562.0,152.0,256.0,453.0,1",
        "bb,,,,,0",
        "cc,,,,,0",
    )
    labels = data.read("classification")
    assert present(labels) == [{"Lung Opacity"}, {"No Lung Opacity / Not Normal"}, {"Normal"}]
    assert labels.patients == ["nih:13", "rsna:bb", "rsna:cc"]
    boxes = data.read("detection")
    assert [len(result) for result in boxes.targets] == [2, 0, 0]
    assert boxes.targets[0].boxes.tolist() == [[264, 152, 477, 531], [562, 152, 818, 605]]
    assert boxes.labels.tolist() == [[1], [0], [0]]


@pytest.mark.parametrize(
    ("card", "file", "header", "image"),
    [
        ("siim_acr", "train-rle.csv", "ImageId, EncodedPixels", "dicom-images-train/1.2.1/1.2.2/{}.dcm"),
        ("candid_ptx", "Pneumothorax_reports.csv", "filename,SOPInstanceUID,EncodedPixels", "dataset/{}"),
    ],
)
def test_pneumothorax_as_relative_runs_down_the_columns(download, card, file, header, image):
    data = download(card)
    data.files(image.format("1.2.3"), image.format("1.2.4"))
    # Column 2 (pixels 2048 ...): rows 5 to 7, then, 1021 pixels on, rows 4 and 5 of column 3.
    before = "P7_1.dcm," if header.startswith("filename") else ""
    data.write(file, header, f"{before}1.2.3, 2053 3 1020 2", f"{before}1.2.4, -1")
    masks = data.read("segmentation")
    assert masks.labels.tolist() == [[1], [0]]
    drawn = np.zeros(1024 * 1024, dtype=bool)
    for start, length in zip(masks.targets[0][0].runs.starts, masks.targets[0][0].runs.lengths, strict=True):
        drawn[start : start + length] = True
    ys, xs = np.nonzero(drawn.reshape(1024, 1024).T)
    assert sorted(zip(xs.tolist(), ys.tolist(), strict=True)) == [(2, 5), (2, 6), (2, 7), (3, 4), (3, 5)]
    assert data.read("detection").targets[0].boxes.tolist() == [[2, 4, 4, 8]]
    assert data.read("classification").labels.tolist() == [[1], [0]]


def test_covidx_names_patients_of_its_sources(download):
    data = download("covidx")
    rsna = "0a8d486f-1aa6-4fcf-b7be-4bf04fc8628b"
    data.files(f"train/{rsna}.png", "train/a.jpg", "test/b.png")
    data.write("labels/train_COVIDx9A.txt", f"{rsna} {rsna}.png normal rsna", "326b a.jpg COVID-19 cohen")
    data.write("labels/test_COVIDx9A.txt", "MIDRC-RICORD-1C-419639-000025 b.png pneumonia ricord")
    result = data.read("classification")
    assert result.patients == [f"rsna:{rsna}", "covid:326b", "covidx:MIDRC-RICORD-1C-419639-000025"]
    assert result.splits == [Split.TRAIN, Split.TRAIN, Split.TEST]
    assert present(result) == [{"Normal"}, {"COVID-19"}, {"Pneumonia"}]
    other = download("rsna_pneumonia")
    other.files(f"stage_2_train_images/{rsna}.dcm")
    other.write("stage_2_detailed_class_info.csv", "patientId,class", f"{rsna},Normal")
    other.write(RSNA_MAP, json.dumps([{"subset_img_id": "another", "img_id": "00000013_005.png"}]))
    assert other.read("classification").patients == data.read("classification").patients[:1] == [f"rsna:{rsna}"]
    other.write(RSNA_MAP, json.dumps([{"subset_img_id": rsna, "img_id": "00000013_005.png"}]))
    assert other.read("classification").patients == data.read("classification").patients[:1] == ["nih:13"]


def test_padchest(download):
    data = download("padchest")
    data.files(*(f"{k % 2}/{name}.png" for k, name in enumerate("abcde")))
    table = [
        ",ImageID,ImageDir,StudyID,PatientID,Projection,Labels",
        """0,a.png,0,s1,p1,PA,"['pulmonary fibrosis', 'chronic changes', 'laminar atelectasis']\"""",
        "1,b.png,1,s1,p1,L,['normal']",
        """2,c.png,0,s2,p2,PA,"['exclude', 'pneumonia']\"""",
        "3,d.png,1,s3,p3,PA,",
        """4,e.png,0,s4,p4,AP,"['central venous catheter via jugular vein ', '']\"""",
    ]
    file = data.card.tasks[Task.CLASSIFICATION].file
    (data.path / file).write_bytes(gzip.compress("\n".join(table).encode()))
    result = data.read("classification")
    assert result.images == ["0/a.png", "1/b.png", "0/c.png", "1/d.png", "0/e.png"]
    assert result.patients == ["padchest:p1", "padchest:p1", "padchest:p2", "padchest:p3", "padchest:p4"]
    assert present(result) == [{"Pulmonary fibrosis", "Atelectasis"}, set(), set(), set(), {"Central venous catheter"}]
    assert [len(row) for row in known(result)] == [len(result.classes)] * 2 + [0, 0, len(result.classes)]


def test_shenzhen_and_its_masks(download):
    data, masks = download("shenzhen"), download("shenzhen_masks")
    data.files("CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0327_1.png", "CXR_png/Thumbs.db")
    data.files("mask/CHNCXR_0327_1_mask.png")
    labels, drawn = data.read("classification"), masks.read("segmentation")
    assert labels.labels.tolist() == [[0], [1]]
    assert drawn.images == labels.images[1:] and drawn.patients == labels.patients[1:] == ["shenzhen:0327"]
    assert drawn.targets[0][0].file == "mask/CHNCXR_0327_1_mask.png"


def test_montgomery(download):
    data = download("montgomery")
    names = ("MCUCXR_0001_0.png", "MCUCXR_0104_1.png")
    data.files(
        *(f"{folder}/{name}" for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask") for name in names)
    )
    assert data.read("classification").labels.tolist() == [[0], [1]]
    parts = data.read("segmentation").targets[1]
    assert {part.class_index: part.file.split("/")[1] for part in parts} == {0: "rightMask", 1: "leftMask"}


def test_jsrt_and_the_masks_of_scr(download):
    data = download("jsrt")
    data.files("All247images/JPCLN001.IMG", "All247images/JPCNN002.IMG")
    organs = ("heart", "left lung", "right lung", "left clavicle", "right clavicle")
    data.files(
        *(
            f"fold{fold}/masks/{organ}/{name}.gif"
            for organ in organs
            for fold, name in ((1, "JPCLN001"), (2, "JPCNN002"))
        )
    )
    labels, drawn = data.read("classification"), data.read("segmentation")
    assert labels.labels.tolist() == [[1], [0]]
    assert labels.patients == ["jsrt:JPCLN001", "jsrt:JPCNN002"]
    for k, fold in enumerate(("fold1", "fold2")):
        assert [part.file.split("/")[0] for part in drawn.targets[k]] == [fold] * 5
        assert {part.file.split("/")[2].title() for part in drawn.targets[k]} == set(drawn.classes)
        assert all(part.scaled for part in drawn.targets[k])


def test_vindr_ribcxr(download):
    data = download("vindr_ribcxr")
    square = [{"x": 10, "y": 20}, {"x": 30, "y": 20}, {"x": 30, "y": 50}, {"x": 10, "y": 50}]
    for side in ("train", "val"):
        name = f"VinDr_RibCXR_{side}_000.png"
        data.files(f"data/{side}/img/{name}")
        ribs = {f"{hand}{k}": {"0": square if (hand, k) == ("L", 3) else None} for hand in "RL" for k in range(1, 11)}
        data.write(
            f"data/{side}/Vindr_RibCXR_{side}_mask.json", json.dumps({"img": {"0": f"data/{side}/img/{name}"}} | ribs)
        )
    result = data.read("detection")
    assert result.splits == [Split.TRAIN, Split.VAL]
    assert [target.boxes.tolist() for target in result.targets] == [[[10, 20, 30, 50]]] * 2
    assert known(result) == [{"L3": 1.0}] * 2  # ribs that nobody drew are unknown
    assert data.read("segmentation").targets[0][0].polygon.tolist() == [[10, 20], [30, 20], [30, 50], [10, 50]]


def test_object_cxr(download):
    data = download("object_cxr")
    data.files("train/1.jpg", "train/2.jpg", "dev/3.jpg")
    data.write("train.csv", "image_name,annotation", "1.jpg,0 10 20 30 60;2 5 5 9 5 9 9", "2.jpg,")
    data.write("dev.csv", "image_name,annotation", "3.jpg,1 0 0 8 4")
    result = data.read("detection")
    assert [target.boxes.tolist() for target in result.targets] == [
        [[10, 20, 30, 60], [5, 5, 9, 9]],
        [],
        [[0, 0, 8, 4]],
    ]
    assert data.read("classification").labels.tolist() == [[1], [0], [1]]
    assert result.splits == [Split.TRAIN, Split.TRAIN, Split.VAL]


def test_complete_covid_collection_leaves_ct_out(download):
    data = download("ieee8023_covid")
    data.files("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg")
    data.write(
        "metadata.csv",
        "patientid,finding,modality,folder,filename",
        "2,Pneumonia/Viral/COVID-19,X-ray,images,a.jpg",
        "3,Pneumonia/Viral/SARS,X-ray,images,b.jpg",
        "4,No Finding,X-ray,images,c.jpg",
        "5,Pneumonia/Viral/COVID-19,CT,volumes,e.nii.gz",
        "6,todo,X-ray,images,d.jpg",
    )
    result = data.read("classification")
    assert present(result) == [{"COVID-19"}, {"Other pneumonia"}, set(), set()]
    assert [len(row) for row in known(result)] == [2, 2, 2, 0]
    assert result.patients == ["covid:2", "covid:3", "covid:4", "covid:6"]


@pytest.mark.parametrize(
    ("card", "file", "key", "image"),
    [
        ("ranzcr_clip", "train.csv", "StudyInstanceUID", "train/{}.jpg"),
        ("chestdr", "chest_train.csv", "img_id", "images/{}"),
        ("vindr_pcxr", "image_labels_{}.csv", "image_id", "{}/{}.dicom"),
    ],
)
def test_label_columns_in_any_order(download, card, file, key, image):
    data = download(card)
    columns = [item.published[0] for item in data.card.tasks[Task.CLASSIFICATION].classes]
    sides = ("train", "test") if card == "vindr_pcxr" else ("train",)
    for number, side in enumerate(sides):
        name = f"i{number}.png" if card == "chestdr" else f"a{number}"
        data.files(image.format(side, name) if len(sides) > 1 else image.format(name))
        shuffled = columns[::-1] if number == 0 else sorted(columns)
        cells = ["1" if column == columns[2 + number] else "0" for column in shuffled]
        data.write(file.format(side), ",".join([key, "PatientID", *shuffled]), ",".join([name, "p7", *cells]))
    result = data.read("classification")
    assert present(result) == [{result.classes[2 + number]} for number in range(len(sides))]
    assert card != "ranzcr_clip" or result.patients == ["ranzcr:p7"]


def test_organs_of_nih_keep_its_patients_and_splits(download):
    data = download("chexmask_nih")
    data.files("images_001/images/00000013_005.png", "images_002/images/00000013_006.png")
    data.write("test_list.txt", "00000013_006.png")
    data.write(
        "../chexmask/OriginalResolution/ChestX-Ray8.csv",
        "Image Index,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width",
        "00000013_005.png,0.9,0.9,1 1,16 2 26 2,12 2 22 2,24 2,4,10",
        "00000013_006.png,0.69,0.9,1 1,16 2,12 2,24 2,4,10",
    )
    result = data.read("detection")
    assert (result.images, result.patients, result.splits) == (
        ["images_001/images/00000013_005.png"],
        ["nih:13"],
        [None],
    )
    boxes = {
        result.classes[k]: box
        for k, box in zip(result.targets[0].box_classes, result.targets[0].boxes.tolist(), strict=True)
    }
    assert boxes == {"Left Lung": [5, 1, 7, 3], "Right Lung": [1, 1, 3, 3], "Heart": [3, 2, 5, 3]}


def test_sets_of_folders(download):
    data = download("kermany")
    for number, side in enumerate(("train", "val", "test")):
        data.files(f"{side}/NORMAL/NORMAL2-IM-{number}-0001.jpeg", f"{side}/PNEUMONIA/person{number}_virus_1.jpeg")
    result = data.read("classification")
    assert result.splits == [Split.TRAIN, Split.TRAIN, Split.VAL, Split.VAL, Split.TEST, Split.TEST]
    assert result.labels[:, 0].tolist() == [0, 1] * 3
    assert result.patients[:2] == ["kermany:NORMAL2-IM-0", "kermany:person0_virus"]
    data = download("covidgr")
    data.files("N/1.jpg", "P/2.jpg")
    assert data.read("classification").labels.tolist() == [[0], [1]]
    data = download("crass")
    data.files("data_train/1.mhd", "data_train/2.mhd", "mask_mhd/2.mhd", "mask_mhd/2.raw")
    assert data.read("segmentation").images == ["data_train/2.mhd"]
