"""Layouts whose labels stand in tables, file names or folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.layouts.images import nodule_phantom, sick, write_image, write_jsrt, write_rows

CHEXPERT = ["No Finding", "Lung Lesion", "Edema"]


def nih(folder: Path) -> dict[str, Any]:
    """ChestX-ray14: twelve folders of images, findings joined by |, two lists of the official split."""
    rows = []
    for patient in range(1, 7):
        name = f"{patient:08d}_000.png"
        write_image(folder / f"images_00{1 + patient % 2}" / "images" / name, nodule_phantom(patient).image)
        rows.append([name, "Nodule|Mass" if patient == 1 else "Nodule" if sick(patient) else "No Finding", patient])
    write_rows(folder / "Data_Entry_2017_v2020.csv", [["Image Index", "Finding Labels", "Patient ID"], *rows])
    (folder / "train_val_list.txt").write_text("\n".join(row[0] for row in rows[:4]))
    (folder / "test_list.txt").write_text("\n".join(row[0] for row in rows[4:]))
    task = {
        "reader": "findings_csv",
        "file": "Data_Entry_2017_v2020.csv",
        "images": "images_*/images",
        "options": {"image_column": "Image Index", "findings_column": "Finding Labels", "negative": ["No Finding"]},
        "classes": ["Nodule", "Mass"],
        "expected": {"images": 6, "positives": {"Nodule": 3, "Mass": 1}},
    }
    return {
        "patient": {"column": "Patient ID"},
        "splits": {"lists": {"train": "train_val_list.txt", "test": "test_list.txt"}},
        "expected": {"images": 6, "patients": 6, "splits": {"train": 4, "test": 2}},
        "tasks": {"classification": task},
    }


def chexpert(folder: Path) -> dict[str, Any]:
    """CheXpert: one file per split, paths from above the folder, blank and -1."""
    for side, patients in (("train", (1, 2, 3)), ("valid", (4, 5))):
        rows = [["Path", "Sex", *CHEXPERT]]
        for patient in patients:
            path = f"{side}/patient{patient:05d}/study1/view1_frontal.jpg"
            write_image(folder / path, nodule_phantom(patient).image)
            edema = "-1.0" if patient == 1 else "0.0"
            rows.append([path, "Female", "" if sick(patient) else "1.0", "1.0" if sick(patient) else "0.0", edema])
        rows[-1][-1] = "1.0"
        write_rows(folder / f"{side}.csv", rows)
    parts = [{"file": "train.csv", "split": "train"}, {"file": "valid.csv", "split": "val"}]
    classes = [{"name": "No Finding", "polarity": "absence"}, *CHEXPERT[1:]]
    options = {"image_column": "Path", "blank": "negative"}
    task = {"reader": "label_columns_csv", "parts": parts, "options": options, "classes": classes}
    return {
        "patient": {"pattern": "(patient[0-9]+)/"},
        "expected": {"images": 5, "patients": 5, "splits": {"train": 3, "val": 2}},
        "tasks": {"classification": task},
    }


def mimic(folder: Path) -> dict[str, Any]:
    """MIMIC-CXR-JPG: labels by study, images by metadata, splits by a third table; all packed."""
    studies, images, sides = [], [], []
    for patient in range(10, 15):
        subject, study, name = f"100000{patient}", f"500000{patient}", f"{patient:08x}-ab"
        studies.append([subject, study, "1.0" if sick(patient) else "", "" if sick(patient) else "0.0"])
        images.append([name, subject, study, "PA"])
        sides.append([name, study, subject, "train" if patient < 13 else "validate" if patient < 14 else "test"])
        write_image(folder / f"files/p10/p{subject}/s{study}/{name}.jpg", nodule_phantom(patient).image)
    write_rows(folder / "mimic-chexpert.csv.gz", [["subject_id", "study_id", "Lung Lesion", "Edema"], *studies])
    write_rows(folder / "mimic-metadata.csv.gz", [["dicom_id", "subject_id", "study_id", "ViewPosition"], *images])
    write_rows(folder / "mimic-split.csv.gz", [["dicom_id", "study_id", "subject_id", "split"], *sides])
    task = {
        "reader": "label_columns_csv",
        "file": "mimic-metadata.csv.gz",
        "join": [
            {"file": "mimic-chexpert.csv.gz", "on": ["subject_id", "study_id"]},
            {"file": "mimic-split.csv.gz", "on": ["dicom_id", "study_id", "subject_id"]},
        ],
        "image_path": "files/p{subject_id:.2}/p{subject_id}/s{study_id}/{dicom_id}",
        "image_suffix": ".jpg",
        "options": {"image_column": "dicom_id", "blank": "negative"},
        "classes": ["Lung Lesion"],
        "expected": {"positives": {"Lung Lesion": 2}},
    }
    values = {"train": ["train"], "val": ["validate"], "test": ["test"]}
    return {
        "patient": {"column": "subject_id", "namespace": "mimic"},
        "splits": {"column": "split", "values": values},
        "expected": {"images": 5, "patients": 5, "splits": {"train": 3, "val": 1, "test": 1}},
        "tasks": {"classification": task},
    }


def padchest(folder: Path) -> dict[str, Any]:
    """PadChest: a Python list in a cell, 16-bit PNG in numbered folders."""
    rows = [["", "ImageID", "ImageDir", "PatientID", "Labels"]]
    for patient in range(1, 5):
        values = nodule_phantom(patient).image.astype(np.uint16) * 256
        write_image(folder / str(patient % 2) / f"{patient}.png", values)
        labels = "['nodule', 'nodule ', 'unchanged']" if sick(patient) else "['normal']"
        rows.append([patient, f"{patient}.png", patient % 2, patient, labels])
    write_rows(folder / "PADCHEST.csv.gz", rows)
    options = {"image_column": "ImageID", "findings_column": "Labels", "separator": ",", "trim": "[]'"}
    task = {
        "reader": "findings_csv",
        "file": "PADCHEST.csv.gz",
        "image_path": "{ImageDir}/{ImageID}",
        "options": options | {"negative": ["normal"], "unlisted": "ignore", "blank": "unknown"},
        "classes": [{"name": "Nodule", "sources": ["nodule"]}],
    }
    return {"patient": {"column": "PatientID"}, "tasks": {"classification": task}, "expected": {"images": 4}}


def covidx(folder: Path) -> dict[str, Any]:
    """COVIDx: lists without header, cells apart by spaces, one list per split."""
    for side, patients in (("train", (1, 2, 3)), ("test", (4, 5))):
        lines = []
        for patient in patients:
            write_image(folder / side / f"{patient}.png", nodule_phantom(patient).image)
            lines.append(f"p{patient} {patient}.png {'positive' if sick(patient) else 'negative'} cohen")
        (folder / f"{side}.txt").write_text("\n".join(lines))
    task = {
        "reader": "findings_csv",
        "parts": [{"file": f"{side}.txt", "images": side, "split": side} for side in ("train", "test")],
        "table": {"delimiter": "whitespace", "header": ["patient", "file", "label", "source"]},
        "options": {"image_column": "file", "findings_column": "label", "negative": ["negative"]},
        "classes": [{"name": "COVID-19", "sources": ["positive"]}],
    }
    return {"patient": {"column": "patient"}, "tasks": {"classification": task}, "expected": {"images": 5}}


def shenzhen(folder: Path) -> dict[str, Any]:
    """Shenzhen and Montgomery: the label in the name, masks of the lungs beside, a stray Thumbs.db."""
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        name = f"CHNCXR_{patient:04d}_{int(sick(patient))}"
        write_image(folder / "CXR_png" / f"{name}.png", result.image)
        if patient < 4:
            mask = (result.mask("Left Lung") | result.mask("Right Lung")).astype(np.uint8) * 255
            write_image(folder / "mask" / f"{name}_mask.png", mask)
    (folder / "CXR_png" / "Thumbs.db").write_bytes(b"x")
    names = {"pattern": "_([01])[.]png$", "negative": ["0"], "ignore": "Thumbs[.]db"}
    tuberculosis = {"name": "Tuberculosis", "sources": ["1"]}
    masks = {"folders": {"Lung": "mask"}, "mask_name": "{image_stem}_mask.png", "positive": 255}
    return {
        "patient": {"pattern": "CHNCXR_([0-9]+)_"},
        "expected": {"images": 4, "patients": 4},
        "tasks": {
            "classification": {
                "reader": "name_pattern", "images": "CXR_png", "options": names, "classes": [tuberculosis],
            },
            "segmentation": {"reader": "mask_folder", "images": "CXR_png", "options": masks, "classes": ["Lung"]},
        },
    }  # fmt: skip


def jsrt(folder: Path) -> dict[str, Any]:
    """JSRT: headerless films whose name says nodule or not."""
    for patient, kind in ((1, "LN"), (2, "NN")):
        write_jsrt(folder / f"JPC{kind}{patient:03d}.IMG", nodule_phantom(patient).image)
    task = {
        "reader": "name_pattern",
        "options": {"pattern": "JPC(LN|NN)[0-9]+[.]IMG$", "negative": ["NN"]},
        "classes": [{"name": "Nodule", "sources": ["LN"]}],
    }
    return {"tasks": {"classification": task}, "expected": {"images": 2}}


def kermany(folder: Path) -> dict[str, Any]:
    """Paediatric pneumonia: folders of splits, folders of classes in them."""
    for patient in range(1, 7):
        kind = f"PNEUMONIA/person{patient}_virus" if sick(patient) else f"NORMAL/IM-{patient:04d}"
        side = "train" if patient < 5 else "test"
        write_image(folder / "chest_xray" / side / f"{kind}_0001.jpeg", nodule_phantom(patient).image)
    task = {
        "reader": "class_folders",
        "images": ["chest_xray/train", "chest_xray/test"],
        "options": {"negative": ["NORMAL"]},
        "classes": [{"name": "Pneumonia", "sources": ["PNEUMONIA"]}],
    }
    return {
        "splits": {"pattern": "chest_xray/(train|test)/", "values": {"train": ["train"], "test": ["test"]}},
        "expected": {"images": 6, "splits": {"train": 4, "test": 2}},
        "tasks": {"classification": task},
    }
