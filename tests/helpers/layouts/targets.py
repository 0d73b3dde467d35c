"""Layouts with boxes, outlines, run-length masks or mask files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.layouts.images import (
    SIDE,
    nodule_phantom,
    outline,
    runs,
    sick,
    write_dicom,
    write_image,
    write_json,
    write_mha,
    write_rows,
)  # fmt: skip

ALL = ("classification", "detection", "segmentation")


def rsna(folder: Path) -> dict[str, Any]:
    """RSNA pneumonia: DICOM, one row a box, and a second table that repeats its rows."""
    boxes, kinds = [["patientId", "x", "y", "width", "height", "Target"]], [["patientId", "class"]]
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"0004cfab-{patient}"
        write_dicom(folder / "stage_2_train_images" / f"{name}.dcm", result.image)
        corners = result.boxes("Nodule")
        boxes += [[name, x1, y1, x2 - x1, y2 - y1, 1] for x1, y1, x2, y2 in corners] or [[name, "", "", "", "", 0]]
        kinds += [[name, "Lung Opacity" if sick(patient) else "Normal"]] * max(1, len(corners))
    write_rows(folder / "stage_2_train_labels.csv", boxes)
    write_rows(folder / "stage_2_detailed_class_info.csv", kinds)
    where = {"images": "stage_2_train_images", "image_suffix": ".dcm"}
    opacity = {"name": "Lung Opacity"}
    detection = {
        "image_column": "patientId", "box_columns": ["x", "y", "width", "height"], "box_layout": "xywh",
        "empty_column": "Target", "empty_values": ["0"], "absent": "negative",
    }  # fmt: skip
    findings = {"image_column": "patientId", "findings_column": "class", "negative": ["Normal"], "repeated": "same"}
    return {
        "expected": {"images": 4},
        "tasks": {
            "classification": where
            | {"reader": "findings_csv", "file": "stage_2_detailed_class_info.csv", "options": findings}
            | {"classes": [opacity]},
            "detection": where
            | {"reader": "bbox_csv", "file": "stage_2_train_labels.csv", "options": detection}
            | {"classes": [opacity], "expected": {"images": 4, "boxes": len(boxes) - 1 - 2}},
        },
    }


def vindr(folder: Path) -> dict[str, Any]:
    """VinDr-CXR: three readers per image, DICOM, boxes and labels by reader."""
    boxes = [["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]]
    labels = [["image_id", "rad_id", "Nodule/Mass", "No finding"]]
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"{patient:032x}"
        write_dicom(folder / "train" / f"{name}.dicom", result.image)
        for reader in ("R8", "R9", "R10"):
            seen = result.boxes("Nodule") if reader != "R10" else []
            boxes += [[name, reader, "Nodule/Mass", x1, y1, x2, y2] for x1, y1, x2, y2 in seen]
            boxes += [] if seen else [[name, reader, "No finding", "", "", "", ""]]
            labels.append([name, reader, int(bool(seen)), int(not seen)])
    write_rows(folder / "annotations" / "annotations_train.csv", boxes)
    write_rows(folder / "annotations" / "image_labels_train.csv", labels)
    where = {"images": "train", "image_suffix": ".dicom", "classes": ["Nodule/Mass"]}
    detection = {
        "image_column": "image_id", "class_column": "class_name", "reader_column": "rad_id", "absent": "negative",
        "box_columns": ["x_min", "y_min", "x_max", "y_max"], "box_layout": "xyxy",
        "empty_column": "class_name", "empty_values": ["No finding"],
    }  # fmt: skip
    options = {"image_column": "image_id", "reader_column": "rad_id"}
    return {
        "expected": {"images": 4, "splits": {"train": 4}},
        "splits": {"pattern": "^(train|test)/", "values": {"train": ["train"], "test": ["test"]}},
        "tasks": {
            "classification": where
            | {"reader": "label_columns_csv", "file": "annotations/image_labels_train.csv", "options": options},
            "detection": where
            | {"reader": "bbox_csv", "file": "annotations/annotations_train.csv", "options": detection},
        },
    }


def siim(folder: Path) -> dict[str, Any]:
    """SIIM-ACR: relative runs down the columns, -1 for none, a space before a column's name."""
    rows = [["ImageId", " EncodedPixels"]]
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        write_dicom(folder / "dicom-images-train" / f"1.2.276.{patient}.dcm", result.image)
        masks = result.instances.get("Nodule", [])
        texts = [runs(mask, relative=True, first=0, order="columns") for mask in masks] or ["-1"]
        rows += [[f"1.2.276.{patient}", f" {text}"] for text in texts]
    write_rows(folder / "train-rle.csv", rows)
    options = {"image_column": "ImageId", "runs_columns": {"Pneumothorax": "EncodedPixels"}}
    task = {
        "reader": "runs_csv", "file": "train-rle.csv", "images": "dicom-images-train", "image_suffix": ".dcm",
        "options": options | {"relative": True, "first": 0, "order": "columns", "height": SIDE, "width": SIDE},
        "classes": ["Pneumothorax"], "expected": {"images": 4, "positives": {"Pneumothorax": 2}},
    }  # fmt: skip
    return {"tasks": dict.fromkeys(ALL, task), "expected": {"images": 4}}


def chexmask(folder: Path) -> dict[str, Any]:
    """CheXmask: absolute runs along the rows, at a size of their own, with a quality."""
    rows = [["image_id", "Dice RCA (Mean)", "Left Lung", "Right Lung", "Heart", "Height", "Width"]]
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        write_image(folder / "images" / f"{patient}.png", result.image)
        masks = [np.kron(result.mask(name), np.ones((2, 2))) for name in ("Left Lung", "Right Lung", "Heart")]
        texts = [runs(mask, relative=False, first=0, order="rows") for mask in masks]
        rows.append([f"{patient}.png", 0.5 if patient == 4 else 0.9, *texts, 2 * SIDE, 2 * SIDE])
    write_rows(folder / "OriginalResolution" / "masks.csv", rows)
    organs = ["Left Lung", "Right Lung", "Heart"]
    options = {
        "image_column": "image_id", "runs_columns": {name: name for name in organs}, "relative": False, "first": 0,
        "order": "rows", "height": "Height", "width": "Width", "scaled": True,
        "quality_column": "Dice RCA (Mean)", "quality_least": 0.7,
    }  # fmt: skip
    task = {"reader": "runs_csv", "file": "OriginalResolution/masks.csv", "images": "images", "options": options}
    return {"tasks": {"segmentation": task | {"classes": organs, "expected": {"images": 3}}}, "expected": {"images": 4}}


def node21(folder: Path) -> dict[str, Any]:
    """NODE21: MetaImage, columns in an odd order, negatives as boxes of no size."""
    rows = [["height", "img_name", "label", "width", "x", "y"]]
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        write_mha(folder / "images" / f"n{patient:04d}.mha", result.image)
        boxes = [[y2 - y1, f"n{patient:04d}.mha", 1, x2 - x1, x1, y1] for x1, y1, x2, y2 in result.boxes("Nodule")]
        rows += boxes or [[0, f"n{patient:04d}.mha", 0, 0, 0, 0]]
    write_rows(folder / "metadata.csv", rows)
    options = {
        "image_column": "img_name", "box_columns": ["x", "y", "width", "height"], "box_layout": "xywh",
        "empty_column": "label", "empty_values": ["0"], "absent": "negative",
    }  # fmt: skip
    task = {"reader": "bbox_csv", "file": "metadata.csv", "images": "images", "options": options, "classes": ["Nodule"]}
    return {"tasks": dict.fromkeys(ALL[:2], task), "expected": {"images": 4}}


def coco(folder: Path) -> dict[str, Any]:
    """COCO (TBX11K, JF-Healthcare): boxes, polygons and packed runs, images without annotation."""
    from pycocotools import mask as packer

    images, annotations = [], []
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        write_image(folder / "imgs" / "tb" / f"tb{patient:04d}.png", result.image)
        images.append({"id": patient, "file_name": f"tb/tb{patient:04d}.png", "width": SIDE, "height": SIDE})
        for mask, (x1, y1, x2, y2) in zip(result.instances.get("Nodule", []), result.boxes("Nodule"), strict=True):
            packed = packer.encode(np.asfortranarray(mask.astype(np.uint8)))
            shape = {"size": packed["size"], "counts": packed["counts"].decode()}
            if patient == 3:
                shape = [[value for pair in outline(mask) for value in pair]]
            ids = {"id": len(annotations) + 1, "image_id": patient, "category_id": 1, "iscrowd": 0}
            annotations.append(ids | {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": shape})
    categories = [{"id": 1, "name": "ActiveTuberculosis"}]
    write_json(folder / "all.json", {"images": images, "annotations": annotations, "categories": categories})
    task = {"reader": "coco", "file": "all.json", "images": "imgs", "classes": ["ActiveTuberculosis"]}
    return {"tasks": dict.fromkeys(ALL, task), "expected": {"images": 4}}


def chestx_det(folder: Path) -> dict[str, Any]:
    """ChestX-Det: lists of names, boxes and polygons."""
    records = []
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"{36000 + patient}.png"
        write_image(folder / "images" / name, result.image)
        masks, boxes = result.instances.get("Nodule", []), result.boxes("Nodule")
        record = {"file_name": name, "syms": ["Nodule"] * len(masks), "boxes": boxes}
        records.append(record | {"polygons": [outline(mask) for mask in masks]})
    write_json(folder / "ChestX_Det_test.json", records)
    task = {"reader": "chestx_det", "file": "ChestX_Det_test.json", "images": "images", "classes": ["Nodule"]}
    return {"tasks": dict.fromkeys(ALL, task), "expected": {"images": 4}}


def chexlocalize(folder: Path) -> dict[str, Any]:
    """CheXlocalize: an object per image, its folders joined in the key, with polygons by class."""
    content: dict[str, dict[str, Any]] = {}
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"patient{patient:05d}/study1/view1_frontal"
        write_image(folder / "test" / f"{name}.jpg", result.image)
        outlines = [outline(mask) for mask in result.instances.get("Nodule", [])]
        content[name.replace("/", "_")] = {"img_size": [SIDE, SIDE]} | ({"Lung Lesion": outlines} if outlines else {})
    write_json(folder / "gt_annotations_test.json", content)
    options = {"key_separator": "_", "key_folders": 2, "size_key": "img_size", "absent": "negative"}
    task = {"reader": "outlines_json", "file": "gt_annotations_test.json", "images": "test", "image_suffix": ".jpg"}
    task |= {"options": options, "classes": ["Lung Lesion"]}
    patients = {"pattern": r"(patient\d+)/", "namespace": "chexpert"}
    return {"tasks": dict.fromkeys(ALL, task), "expected": {"images": 4, "patients": 4}, "patient": patients}


def padchest_gr(folder: Path) -> dict[str, Any]:
    """PadChest-GR: a list of images with findings, boxes as shares, and a table of patients and splits."""
    records, table = [], [["StudyID", "ImageID", "label", "split", "PatientID"]]
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"2168401113_{patient}.png"
        write_image(folder / "images" / name, result.image)
        boxes = [[value / SIDE for value in corners] for corners in result.boxes("Nodule")]
        findings = [{"sentence_en": "No effusion.", "abnormal": False}]
        findings += [{"abnormal": True, "boxes": [corners], "labels": ["nodule"]} for corners in boxes]
        records.append({"StudyID": str(patient), "ImageID": name, "findings": findings})
        table += [[patient, name, label, "train" if patient < 4 else "test", f"p{patient}"] for label in "ab"]
    write_json(folder / "grounded_reports.json", records)
    write_rows(folder / "master_table.csv", table)
    options = {
        "image_key": "ImageID", "findings_key": "findings", "labels_key": "labels", "boxes_key": "boxes",
        "present_key": "abnormal", "box_layout": "xyxy", "reference_size": "unit", "absent": "negative",
    }  # fmt: skip
    task = {"reader": "findings_json", "file": "grounded_reports.json", "images": "images", "options": options}
    task |= {"classes": [{"name": "Nodule", "sources": ["nodule"]}]}
    rows = {"file": "master_table.csv", "image_column": "ImageID"}
    return {
        "patient": {"tables": [rows | {"value_column": "PatientID"}]},
        "splits": {"table": rows | {"value_column": "split"}, "values": {"train": ["train"], "test": ["test"]}},
        "tasks": {"classification": task, "detection": task},
        "expected": {"images": 4, "patients": 4, "splits": {"train": 3, "test": 1}},
    }


def rsna_full(folder: Path) -> dict[str, Any]:
    """RSNA's own form of its pneumonia set: a project of md.ai, images by study, series and instance."""
    annotations: list[dict[str, Any]] = []
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        keys = {"StudyInstanceUID": f"1.2.{patient}", "SeriesInstanceUID": f"1.3.{patient}"}
        keys |= {"SOPInstanceUID": f"1.4.{patient}", "height": SIDE, "width": SIDE}
        write_dicom(folder / f"project/1.2.{patient}/1.3.{patient}/1.4.{patient}.dcm", result.image)
        boxes = [{"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1} for x1, y1, x2, y2 in result.boxes("Nodule")]
        annotations += [keys | {"labelId": "L_1", "data": box} for box in boxes]
        annotations += [] if boxes else [keys | {"labelId": "L_2", "data": None}]
    labels = [{"id": "L_1", "name": "Lung Opacity"}, {"id": "L_2", "name": "Normal"}]
    project = {"labelGroups": [{"name": "Calculated", "labels": labels}], "datasets": [{"annotations": annotations}]}
    write_json(folder / "project.json", project)
    options = {"label_group": "Calculated", "absent": "negative", "other": ["Normal"]}
    task = {
        "reader": "mdai_json", "file": "project.json", "images": "project", "image_suffix": ".dcm", "options": options,
        "image_path": "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}", "classes": ["Lung Opacity"],
    }  # fmt: skip
    return {"tasks": {"classification": task, "detection": task}, "expected": {"images": 4}}


def reflacx(folder: Path) -> dict[str, Any]:
    """REFLACX: certainties in columns, and a table of ellipses for every reading."""
    rows = [["id", "image", "Nodule"]]
    for patient in range(1, 5):
        result, name = nodule_phantom(patient), f"d{patient}.png"
        write_image(folder / "images" / name, result.image)
        corners = result.boxes("Nodule")
        rows.append([f"P{patient}", name, 5 if corners else 0])
        marks = [[*box, 4, "True"] for box in corners]
        write_rows(folder / f"readings/P{patient}/e.csv", [["xmin", "ymin", "xmax", "ymax", "sure", "Nodule"], *marks])
    write_rows(folder / "readings.csv", rows)
    options = {
        "image_column": "image", "present_from": 3, "marks_file": "readings/{id}/e.csv", "box_layout": "xyxy",
        "box_columns": ["xmin", "ymin", "xmax", "ymax"], "certainty_column": "sure", "certain_from": 3,
    }  # fmt: skip
    task = {"reader": "marked_tables", "file": "readings.csv", "images": "images", "options": options}
    task |= {"classes": ["Nodule"]}
    return {"tasks": {"classification": task, "detection": task}, "expected": {"images": 4}}


def object_cxr(folder: Path) -> dict[str, Any]:
    """Object-CXR: all objects of an image in one cell, one file per split."""
    for side, patients in (("train", (1, 2, 3)), ("dev", (4, 5))):
        rows = [["image_name", "annotation"]]
        for patient in patients:
            result = nodule_phantom(patient)
            write_image(folder / side / f"{patient:05d}.jpg", result.image)
            cells = [f"{position % 2} {' '.join(map(str, box))}" for position, box in enumerate(result.boxes("Nodule"))]
            if patient == 3:
                cells = ["2 " + " ".join(f"{x:g} {y:g}" for x, y in outline(result.instances["Nodule"][0]))]
            rows.append([f"{patient:05d}.jpg", ";".join(cells)])
        write_rows(folder / f"{side}.csv", rows)
    parts = [{"file": f"{s}.csv", "images": s, "split": v} for s, v in (("train", "train"), ("dev", "val"))]
    options = {"image_column": "image_name", "objects_column": "annotation"}
    task = {"reader": "object_list_csv", "parts": parts, "options": options, "classes": ["Foreign Object"]}
    return {"tasks": dict.fromkeys(ALL, task), "expected": {"images": 5, "splits": {"train": 3, "val": 2}}}


def ribs(folder: Path) -> dict[str, Any]:
    """VinDr-RibCXR: JSON by columns, a polygon of points a rib; some ribs are not outlined."""
    content: dict[str, dict[str, Any]] = {"img": {}, "R1": {}, "L1": {}}
    for position, patient in enumerate((1, 2, 3)):
        result = nodule_phantom(patient)
        write_image(folder / "Data" / "train" / "img" / f"VinDr_RibCXR_train_{position:03d}.png", result.image)
        content["img"][str(position)] = f"Data/train/img/VinDr_RibCXR_train_{position:03d}.png"
        for rib, lung in (("R1", "Right Lung"), ("L1", "Left Lung")):
            if (rib, position) != ("L1", 2):
                content[rib][str(position)] = [{"x": x, "y": y} for x, y in outline(result.mask(lung))]
    write_json(folder / "Vindr_RibCXR_train_mask.json", content)
    task = {
        "reader": "polygon_columns_json", "file": "Vindr_RibCXR_train_mask.json", "images": "Data/train/img",
        "options": {"image_column": "img", "strip_folders": True}, "classes": ["R1", "L1"],
    }  # fmt: skip
    return {"tasks": {"segmentation": task, "detection": task}, "expected": {"images": 3}}


def mask_rows(folder: Path) -> dict[str, Any]:
    """covid-chestxray segmentations: one row a mask file, masks overlap, a pixel value says unknown."""
    rows = [["Image", "Template Name", "Mask"]]
    for patient in range(1, 4):
        result = nodule_phantom(patient)
        write_image(folder / "images" / f"{patient}.jpg", result.image)
        for organ in ("Heart", "Left Lung"):
            values = result.mask(organ).astype(np.uint8) * 255
            values[0, :5] = 127
            write_image(folder / "masks" / f"{patient}_{organ[0]}.png", values)
            rows.append([f"images/{patient}.jpg", organ, f"masks/{patient}_{organ[0]}.png"])
    write_rows(folder / "structure.csv", rows)
    options = {"image_column": "Image", "class_column": "Template Name", "mask_column": "Mask"}
    task = {"reader": "mask_table", "file": "structure.csv", "options": options | {"positive": 255, "ignore": 127}}
    return {"tasks": {"segmentation": task | {"classes": ["Heart", "Left Lung"]}}, "expected": {"images": 3}}


def named_masks(folder: Path) -> dict[str, Any]:
    """Shenzhen's lesions: one mask per object, whose name holds the image and the class."""
    for patient in range(1, 4):
        result = nodule_phantom(patient)
        write_image(folder / "images" / f"{patient}.png", result.image)
        for number, organ in enumerate(("Heart", "Left Lung"), start=1):
            mask = result.mask(organ).astype(np.uint8) * 255
            write_image(folder / "masks" / f"{patient}_{organ}_{number}.png", mask)
    options = {"masks": ["masks"], "mask_name": "{image_stem}_{class}_{number}.png", "positive": 255}
    task = {"reader": "named_masks", "images": "images", "options": options, "classes": ["Heart", "Left Lung"]}
    return {"tasks": {"segmentation": task}, "expected": {"images": 3}}
