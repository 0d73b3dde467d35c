"""Each download as its publisher packs it, stray files included, has no fault and the counts of its card.

Small downloads are written whole, with generated names where only their form is known; of large ones a part is written,
and the counts are those of the part.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from foundationx.core.types import Annotations, Split, Task
from tests.helpers.layouts.images import runs
from tests.helpers.published_tree import PublishedTree


@pytest.fixture
def tree(tmp_path):
    return lambda card, top="": PublishedTree(tmp_path, card, top)


def present(table: Annotations) -> list[set[str]]:
    return [{n for n, v in zip(table.classes, row, strict=True) if v == 1} for row in table.labels.tolist()]


def known(table: Annotations) -> list[dict[str, float]]:
    return [
        {n: v for n, v in zip(table.classes, row, strict=True) if not math.isnan(v)} for row in table.labels.tolist()
    ]


UID = "4.1.46.958385.01.8.9.5.55171103673140{}.744762112239{}"


def test_candid_ptx_has_images_without_suffix_and_patients_in_the_column_filename(tree):
    data = tree("candid_ptx")
    uids = [UID.format(k, k) for k in range(6)]
    data.images([f"dataset/{uid}" for uid in uids], 1024, 1024)
    data.stray("dataset")
    rows = [
        (f"P{k // 2 + 7}_{k}.dcm", "No pneumothorax.\nLines", f"1.{k}", uid, "-1") for k, uid in enumerate(uids[:4])
    ]
    rows += [("P0031_1.dcm", "Two", "1.9", uids[4], "2053 3 1020 2"), ("P0031_1.dcm", "Two", "1.9", uids[4], "9000 5")]
    rows += [("P31_2.dcm", "One", "1.8", uids[5], "5000 4")]
    data.table(
        "Pneumothorax_reports.csv", ["filename", "Report", "StudyInstanceUID", "SOPInstanceUID", "EncodedPixels"], rows
    )
    for other in ("chest_tube.csv", "Rib_fracture_mask_rle.csv"):
        data.table(other, ["anon_SOPUID", "annotation ref", "mask_rle"], [(uids[0], "a1", "5000 4")])
    assert data.check({"images": 6}).patients == 3
    masks = data.read("segmentation")
    assert masks.patients == ["candid_ptx:7"] * 2 + ["candid_ptx:8"] * 2 + ["candid_ptx:31"] * 2
    assert masks.labels[:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert [len(parts) for parts in masks.targets] == [0, 0, 0, 0, 2, 1]


def test_chestdr_is_the_training_split_of_the_challenge(tree):
    data = tree("chestdr", "MedFMC_train/chest")
    classes = [item.name for item in data.card.tasks[Task.CLASSIFICATION].classes]
    forms = ("5B91F7{:05d}CE2.png", "DX.1.2.840.{:05d}.png", "CR.1.2.156.{:05d}.png")
    names = [forms[k % 3].format(k) for k in range(2140)]
    data.images(f"images/{name}" for name in names)
    data.stray("images", "")
    cells = [[float((k + c) % 19 == 0) for c in range(19)] for k in range(len(names))]
    rows = [(k, name, *row) for k, (name, row) in enumerate(zip(names, cells, strict=True))]
    data.table("chest_train.csv", ["", "img_id", *classes], rows)
    data.text("chest_val.csv", ",img_id\n0,none.png\n")
    report = data.check()
    assert (report.images, report.patients) == (2140, 2140)
    labels = data.read("classification")
    assert labels.labels.tolist() == cells and set(labels.splits) == {None}  # no other split has labels in this form


def test_chestx_det_unpacks_to_train_and_test(tree):
    data = tree("chestx_det")
    polygon = [[2.0, 3.0], [20.0, 3.0], [20.0, 15.0], [2.0, 15.0]]
    for side, count in (("train", 4), ("test", 3)):
        records = [
            {"file_name": f"{36199 + k}.png", "syms": ["Mass"], "boxes": [[2, 3, 20, 15]], "polygons": [polygon]}
            for k in range(count)
        ]
        records[0] |= {"syms": [], "boxes": [], "polygons": []}
        data.images(f"{side}/{record['file_name']}" for record in records)
        data.stray(side)
        data.json(f"ChestX_Det_{side}.json", records)
    data.check({"images": 7, "splits": {"train": 4, "test": 3}}, {"detection": {"boxes": 5}})
    detection = data.read("detection")
    assert Counter(detection.splits) == {Split.TRAIN: 4, Split.TEST: 3}
    assert [len(target) for target in detection.targets] == [0, 1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize("card", ["chexmask_nih", "chexmask_vindr"])
def test_chexmask_lies_beside_the_images_it_was_drawn_on(tree, card):
    data = tree(card)
    nih = card == "chexmask_nih"
    names = [f"0000000{k}_000.png" for k in range(1, 5)] if nih else [f"{k:032x}" for k in (161, 178, 195, 212)]
    folders = ("images_001/images", "images_002/images") if nih else ("train", "test")
    suffix = "" if nih else ".dicom"
    data.images(f"{folders[k % 2]}/{name}{suffix}" for k, name in enumerate(names))
    data.stray(*folders)
    if nih:
        data.text("test_list.txt", names[1] + "\n")
    left, right, heart = (np.zeros((24, 32), bool) for _ in range(3))
    left[4:20, 20:28], right[4:20, 4:12], heart[12:20, 12:20] = True, True, True
    drawn = [runs(mask, relative=False, first=1, order="rows") for mask in (left, right, heart)]
    header = ["Image Index" if nih else "image_id", "Dice RCA (Mean)", "Dice RCA (Max)", "Landmarks"]
    header += ["Left Lung", "Right Lung", "Heart", "Height", "Width"]
    rows = [(name, 0.69 if k == 3 else 0.7, 0.9, "[1 2]", *drawn, 24, 32) for k, name in enumerate(names)]
    file = f"../chexmask/OriginalResolution/{'ChestX-Ray8' if nih else 'VinDr-CXR'}.csv"
    data.table(file, header, rows)
    for other in ("Padchest.csv", "MIMIC-CXR-JPG.csv", "CheXpert.csv"):
        data.text(f"../chexmask/OriginalResolution/{other}", "head\n")
    data.table(file.replace("OriginalResolution", "Preprocessed"), header, rows)
    assert data.check().images == 3  # the fourth is of too low a quality
    masks = data.read("segmentation")
    assert all({part.class_index for part in parts} == {0, 1, 2} for parts in masks.targets)
    boxes = data.read("detection").targets[0]
    lefts = dict(zip((masks.classes[k] for k in boxes.box_classes), boxes.boxes[:, 0].tolist(), strict=True))
    assert lefts == {"Left Lung": 20, "Right Lung": 4, "Heart": 12}


CHEXPERT = [
    *("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly"),
    *("Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax"),
    *("Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
]


@pytest.mark.parametrize(("card", "top"), [("chexpert", "CheXpert-v1.0"), ("chexpert_small", "CheXpert-v1.0-small")])
def test_chexpert_as_its_batches_are_put_together(tree, card, top):
    data = tree(card)
    train = [
        f"{top}/train/patient{p:05d}/study{s}/view1_frontal.jpg" for p, s in itertools.product(range(1, 5), (1, 2))
    ]
    valid = [f"{top}/valid/patient{64541 + k}/study1/view{1 + k % 2}_frontal.jpg" for k in range(3)]
    data.images([*train, *valid])
    data.stray(f"{top}/train", f"{top}/valid/patient64541/study1")
    labels = [
        (["1.0", "", "0.0", "-1.0"] * 4)[k : k + 14] if k < 3 else ["", "", "1.0"] * 4 + ["", ""] for k in range(8)
    ]
    rows = [(name, "Female", 0 if k else 68, "Frontal", "AP", *labels[k]) for k, name in enumerate(train)]
    data.table(f"{top}/train.csv", CHEXPERT, rows)
    data.table(
        f"{top}/valid.csv", CHEXPERT, [(name, "Unknown", 73, "Frontal", "AP", *["0.0", "1.0"] * 7) for name in valid]
    )
    assert data.check({"images": 11, "patients": 7, "splits": {"train": 8, "val": 3}}).patients == 7
    assert data.card.expected.images == 223_414 + 234


def test_covidgr_unpacks_to_a_folder_of_its_own(tree):
    data = tree("covidgr", "COVIDGR_1.0")
    data.images(f"{folder}/{folder}_{k}.jpg" for folder in "NP" for k in range(426))
    data.stray("N", "P")
    data.table("severity.csv", ["image", "severity"], [(f"P_{k}.jpg", "MILD") for k in range(425)])
    report = data.check()
    assert report.labels["classification"]["COVID-19"] == {"present": 426, "absent": 426, "unknown": 0}


def test_covidx_leaves_images_of_the_abdomen_out(tree):
    data = tree("covidx")
    rsna = "0a8d486f-1aa6-4fcf-b7be-4bf04fc8628b"
    chest = "A973206-01-22-1901-NA-CHEST_AP_PORT-66202-2.000000-AP-75544-1-1.jpg"
    abdomen = "A973206-01-22-1901-NA-ABD_SERIES_FLAT_AND_ERECT_PORTABLE-42226-1.000000-AP-87449-1-1.jpg"
    train = [(rsna, f"{rsna}.png", "normal", "rsna"), ("326b", "a.jpg", "COVID-19", "cohen")]
    train += [("A973206", chest, "COVID-19", "stonybrook"), ("A973206", abdomen, "COVID-19", "stonybrook")]
    test = [("MIDRC-RICORD-1C-419639-000025", "b.png", "pneumonia", "ricord")]
    for side, rows in (("train", train), ("test", test)):
        data.images(f"{side}/{row[1]}" for row in rows)
        data.stray(side)
        data.text(f"labels/{side}_COVIDx9A.txt", "".join(" ".join(row) + "\n" for row in rows))
    positives = {"Normal": 1, "Pneumonia": 1, "COVID-19": 2}
    data.check(
        {"images": 5, "splits": {"train": 3, "test": 1}}, {"classification": {"images": 4, "positives": positives}}
    )
    labels = data.read("classification")
    assert not any("ABD" in image for image in labels.images)
    assert labels.patients == [f"rsna:{rsna}", "covid:326b", "covidx:A973206", f"covidx:{test[0][0]}"]
    whole = data.card.tasks[Task.CLASSIFICATION].expected
    assert sum(whole.positives.values()) == whole.images == data.card.expected.images - 487


def test_kermany_keeps_its_published_splits(tree):
    """Numbers of patients run anew for bacteria and for virus: both have a person1, one in each split."""
    data = tree("kermany")
    names = {
        "train/NORMAL": [f"IM-{115 + k:04d}-0001.jpeg" for k in range(1341)],
        "val/NORMAL": [f"NORMAL2-IM-{1427 + k}-0001.jpeg" for k in range(8)],
        "test/NORMAL": [f"NORMAL2-IM-{k:04d}-0001.jpeg" for k in range(234)],
        "train/PNEUMONIA": [f"person{1 + k // 2}_bacteria_{k}.jpeg" for k in range(2530)]
        + [f"person{400 + k}_virus_{k}.jpeg" for k in range(1345)],
        "val/PNEUMONIA": [f"person{1946 + k}_bacteria_{4874 + k}.jpeg" for k in range(8)],
        "test/PNEUMONIA": [f"person{1300 + k}_bacteria_{k}.jpeg" for k in range(242)]
        + [f"person{1 + k}_virus_{k}.jpeg" for k in range(148)],
    }
    for folder, files in names.items():
        data.images(f"{folder}/{name}" for name in files)
        data.stray(folder, folder.split("/")[0])
    images = {"images": 5856, "splits": {"train": 5216, "val": 16, "test": 624}}
    expected = data.card.expected.model_dump(exclude_none=True)
    assert {key: expected[key] for key in images} == images and expected["patients"] == 4097
    table = data.read("classification")
    report = data.check(images | {"patients": len(set(table.patients))}, {"classification": {"images": 5856}})
    assert not [issue for issue in report.issues if "in several splits" in issue.found]
    assert {"kermany:person1_bacteria", "kermany:person1_virus"} <= set(table.patients)


MIMIC = sorted(CHEXPERT[5:])


def write_mimic(data: PublishedTree, images: list[tuple[str, int, int, str]]) -> None:
    """Images and the tables of version 2.1.0; each image is its name, study, patient and split."""
    paths = [f"files/p{str(p)[:2]}/p{p}/s{s}/{d}.jpg" for d, s, p, _ in images]
    data.images(paths)
    data.text("IMAGE_FILENAMES", "\n".join(paths))
    data.table("mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], images)
    header = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"]
    rows = [
        (d, p, s, "CHEST (PA AND LAT)", "LATERAL" if k % 2 else "PA", 2544) for k, (d, s, p, _) in enumerate(images)
    ]
    data.table("mimic-cxr-2.0.0-metadata.csv.gz", header, rows)


def test_mimic_without_the_studies_that_have_no_labels(tree):
    data = tree("mimic_cxr_jpg")
    side = ("train", "train", "validate", "test")
    images = [(f"02aa804e-bde0afdd-{k:08x}", 50414267 + k // 2, 10000032 + k // 4, side[k // 4]) for k in range(16)]
    write_mimic(data, images)
    data.stray("files/p10/p10000032/s50414267", "files")
    studies = list(dict.fromkeys((p, s) for _, s, p, _ in images))[:-1]  # the last has no labels
    rows = [(p, s, *(["1.0", "", "0.0", "-1.0"] * 5)[k % 4 : k % 4 + 14]) for k, (p, s) in enumerate(studies)]
    for name in ("chexpert", "negbio"):
        data.table(f"mimic-cxr-2.0.0-{name}.csv.gz", ["subject_id", "study_id", *MIMIC], rows)
    report = data.check({"images": 16, "patients": 4, "splits": {"train": 8, "val": 4, "test": 4}})
    assert report.images == 14
    notes = [issue.found for issue in report.issues if "no match in a joined table" in issue.found]
    assert notes == [
        "found 14 of 16 images; 2 rows have no match in a joined table",
        "found 2 of 4 test images; 2 rows have no match in a joined table",
    ]
    published = data.card.expected
    assert sum(published.splits.values()) == published.images == 377_110


def test_jsrt_with_the_archive_of_scr(tree):
    data = tree("jsrt")
    names = ["JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"]
    data.images(f"All247images/{name}.IMG" for name in names)
    organs = ("heart", "left lung", "right lung", "left clavicle", "right clavicle")
    for organ, (k, name) in itertools.product(organs, enumerate(names)):
        data.gif(f"fold{1 + k % 2}/masks/{organ}/{name}.gif", 1024)
    data.text("CLNDAT_EN.txt", "JPCLN001.IMG\t5\t2\n")
    data.check(
        {"images": 4, "patients": 4},
        {"classification": {"images": 4, "positives": {"Nodule": 2}}, "segmentation": {"images": 4}},
    )


def montgomery(data: PublishedTree) -> list[str]:
    """138 names: 80 normal, 58 with tuberculosis, among them those of three patients with several images."""
    double = {113: "1", 117: "1", 162: "1", 166: "1", 170: "1"}
    numbers = [*range(1, 81), *double, *(n for n in range(200, 253))]
    names = [f"MCUCXR_{n:04d}_{double.get(n, '0' if n <= 80 else '1')}.png" for n in numbers]
    data.images(f"CXR_png/{name}" for name in names)
    data.masks(f"ManualMask/{side}/{name}" for side in ("leftMask", "rightMask") for name in names)
    data.text("ClinicalReadings/MCUCXR_0117_1.txt", "Patient's Sex: F\nsame pt as MCUCXR_0113\n")
    data.text("NLM-MontgomeryCXRSet-ReadMe.pdf", "x")
    data.stray("CXR_png", "ManualMask", "ManualMask/leftMask", "ClinicalReadings")
    return names


def test_montgomery_has_patients_sides_and_135_patients(tree):
    data = tree("montgomery", "MontgomerySet")
    names = montgomery(data)
    assert len(names) == 138
    report = data.check()
    assert report.patients == 135
    masks = data.read("segmentation")
    sides = {masks.classes[part.class_index]: part.file.split("/")[1] for part in masks.targets[0]}
    assert sides == {"Right Lung": "leftMask", "Left Lung": "rightMask"}
    who = dict(zip(masks.images, masks.patients, strict=True))
    assert who["CXR_png/MCUCXR_0113_1.png"] == who["CXR_png/MCUCXR_0117_1.png"]
    assert len({who[f"CXR_png/MCUCXR_0{n}_1.png"] for n in (113, 162, 166, 170)}) == 2


def test_crass_as_pairs_of_headers_and_pixels(tree):
    data = tree("crass", "CRASS")
    data.images(f"{folder}/{k:04d}.mhd" for folder in ("data_train", "data_test") for k in range(6))
    data.masks(f"mask_mhd/{k:04d}.mhd" for k in range(5))
    data.stray("data_train", "mask_mhd")
    assert data.check().images == 5
    (part,) = data.read("segmentation").targets[0]
    assert part.file == "mask_mhd/0000.mhd"


def test_the_covid_collection_with_findings_of_both_spellings(tree):
    data = tree("ieee8023_covid")
    header = "patientid,offset,sex,age,finding,RT_PCR_positive,view,modality,date,location,folder,filename,doi,license"
    findings = ["Pneumonia/Viral/COVID-19", "Bacterial", "No Finding", "todo", "Pneumonia/Viral/Herpes ", "COVID-19"]
    data.images(f"images/{k}.jpg" for k in range(len(findings)))
    data.stray("images")
    rows = [
        (k // 2, 0, "M", 60, finding, "Y", "PA", "X-ray", 2020, "Italy", "images", f"{k}.jpg", "", "CC BY-NC-ND")
        for k, finding in enumerate(findings)
    ]
    rows.append(
        (9, 0, "F", 50, "Pneumonia/Viral/COVID-19", "Y", "Axial", "CT", 2020, "", "volumes", "a.nii.gz", "", "")
    )
    data.table("metadata.csv", header.split(","), rows)
    report = data.check()
    assert (report.images, report.patients) == (6, 3)
    assert present(data.read("classification")) == [
        {"COVID-19"},
        {"Other pneumonia"},
        set(),
        set(),
        {"Other pneumonia"},
        {"COVID-19"},
    ]
    assert known(data.read("classification"))[3] == {}
