"""Layouts with named points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.layouts.images import SIDE, nodule_phantom, write_image, write_rows


def landmarks(folder: Path) -> dict[str, Any]:
    """A row per image with two columns for each landmark."""
    names = list(nodule_phantom(1).landmarks)
    rows = [["image", *(f"{name} {axis}" for name in names for axis in "xy")]]
    for patient in range(1, 5):
        result = nodule_phantom(patient)
        write_image(folder / "images" / f"{patient}.png", result.image)
        places = [f"{min(max(value, 0), SIDE):.2f}" for point in result.landmarks.values() for value in point]
        rows.append([f"{patient}.png", *places])
    write_rows(folder / "landmarks.csv", rows)
    options = {"image_column": "image", "x_column": "{point} x", "y_column": "{point} y"}
    task = {"reader": "keypoints_csv", "file": "landmarks.csv", "images": "images", "options": options}
    expected = {"images": 4}
    return {"tasks": {"keypoints": task | {"classes": names, "expected": expected}}, "expected": expected}


def ranzcr(folder: Path) -> dict[str, Any]:
    """RANZCR CLiP: a traced line per row, of any number of points."""
    rows = [["StudyInstanceUID", "label", "data"]]
    for patient in range(1, 5):
        write_image(folder / "train" / f"1.2.826.{patient}.jpg", nodule_phantom(patient).image)
        line = [[20 + step, 2 + 3 * step] for step in range(4 + patient)]
        rows.append([f"1.2.826.{patient}", "ETT - Normal" if patient % 2 else "ETT - Abnormal", str(line)])
    write_rows(folder / "train_annotations.csv", rows)
    task = {
        "reader": "point_lists_csv", "file": "train_annotations.csv", "images": "train", "image_suffix": ".jpg",
        "options": {"image_column": "StudyInstanceUID", "class_column": "label", "points_column": "data",
                    "resample": True, "start": "top"},
        "classes": [{"name": "Tube", "sources": ["ETT - Normal", "ETT - Abnormal"], "points": 5}],
        "expected": {"images": 4},
    }  # fmt: skip
    return {"tasks": {"keypoints": task}, "expected": {"images": 4}}
