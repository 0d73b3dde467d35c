"""Writes the four phantom datasets, each in a published layout with a card in ``data_registry``.

phantom_labels   NIH ChestX-ray14: Data_Entry_2017_v2020.csv, findings joined by |
phantom_boxes    COCO: annotations.json, images without boxes are listed too
phantom_masks    a folder of masks for each organ, 0 and 255; and landmarks.csv, which the card phantom_points reads
phantom_all      ChestX-Det: ChestX_Det.json with names, boxes and polygons

``phantom_splits.csv`` beside them puts every patient into a split, so that no split of a few patients is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foundationx.core.atomic_write import write_atomically, write_csv
from foundationx.core.errors import DataError
from foundationx.core.geometry.outlines import mask_outlines
from foundationx.core.strict_json import to_exact_json
from foundationx.core.types import Split
from foundationx.datasets.split_lists import write_split_list
from foundationx.datasets.splits import deal
from foundationx.phantoms.layouts._outlines import centre
from foundationx.phantoms.phantom import ORGANS, Phantom, draw_findings, make_phantom

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOXED = ("Nodule", "Consolidation", "Heart")
FIELD_OF_VIEW = 400
"""Side of an image in millimetres."""

SECOND_IMAGE_SHARE = 0.25
"""Share of patients with a second image."""

DATASETS = ("phantom_labels", "phantom_boxes", "phantom_masks", "phantom_all")
SPLITS = "phantom_splits.csv"
"""List of splits, for ``split.file`` of a configuration."""

SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.15, Split.TEST: 0.15}
"""Share of the patients in each split of the list."""

PATIENT_NAMES = {"phantom_labels": "{}", "phantom_boxes": "p{}", "phantom_masks": "p{}", "phantom_all": "{}"}
"""How the files of each dataset write the number of a patient."""

_PATIENTS_APART = 1_000_000
"""Patient numbers per dataset, so that no two datasets share a patient."""

_CONTOUR_TOLERANCE = 0.6


def write_phantom_datasets(
    root: Path, images: int | Mapping[str, int], size: int = 256, seed: int = 0, processes: int = 2
) -> None:
    """Writes the datasets under ``root``; the same arguments give the same bytes.

    Args:
        root: Data root.
        images: Number of images per dataset, or by dataset name; datasets without a number are not written.
        size: Side of an image in pixels.
        seed: Seed; another one gives other patients.
        processes: Number of processes.

    Raises:
        ValueError: A name in ``images`` is no phantom dataset.
        DiskError: A file cannot be written.
    """
    jobs = []
    counts = dict.fromkeys(DATASETS, images) if isinstance(images, int) else images
    if unknown := set(counts) - set(DATASETS):
        raise ValueError(f"unknown datasets {sorted(unknown)}; known: {', '.join(DATASETS)}")
    for index, name in enumerate(DATASETS):
        if name not in counts:
            continue
        first = (seed * len(DATASETS) + index + 1) * _PATIENTS_APART
        jobs.append((Path(root) / name, name, list(_numbers(first, counts[name])), size))
    write_split_list(Path(root) / SPLITS, _splits({name: numbers for _, name, numbers, _ in jobs}))
    if processes < 2 or not jobs:
        for job in jobs:
            _write(*job)
        return
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(_write, *zip(*jobs, strict=True)))
    except BrokenProcessPool as error:
        fix = "give it more memory, then run the same command again"
        raise DataError(str(root), "a process that draws phantoms has died", "running processes", fix) from error


def _splits(numbers: Mapping[str, list[tuple[int, int]]]) -> dict[str, Split]:
    """Splits that have their shares of each dataset's patients."""
    splits: dict[str, Split] = {}
    for name, of_dataset in numbers.items():
        patients = {f"{name}:{PATIENT_NAMES[name].format(_short(patient))}" for patient, _ in of_dataset}
        deal(patients, SHARES, 0, splits)
    return dict(sorted(splits.items()))


def _numbers(first_patient: int, count: int) -> Iterator[tuple[int, int]]:
    """(patient, image number) pairs; some patients have two images."""
    random = np.random.default_rng(first_patient)
    patient, left = first_patient, count
    while left:
        images = min(left, 2 if random.random() < SECOND_IMAGE_SHARE else 1)
        yield from ((patient, number) for number in range(images))
        patient, left = patient + 1, left - images


def _write(folder: Path, name: str, numbers: list[tuple[int, int]], size: int) -> None:
    """Draws the images of one dataset and writes it."""
    cv2.setNumThreads(1)
    write_dataset = {
        "phantom_labels": _write_labels,
        "phantom_boxes": _write_boxes,
        "phantom_masks": _write_masks,
        "phantom_all": _write_all,
    }[name]
    write_dataset(folder, numbers, size)


def _short(patient: int) -> int:
    """A patient's number inside its dataset."""
    return patient % _PATIENTS_APART + 1


def _save(path: Path, values: np.ndarray) -> None:
    write_atomically(path, cv2.imencode(".png", values)[1].tobytes(), durable=False)


def _write_labels(folder: Path, numbers: list[tuple[int, int]], size: int) -> None:
    """NIH ChestX-ray14's table; patient and follow-up are part of the file's name."""
    rows = []
    for patient, number in numbers:
        phantom = make_phantom(patient, number, size)
        name = f"{_short(patient):08d}_{number:03d}.png"
        _save(folder / "images" / name, phantom.image)
        random = np.random.default_rng([patient, 6])
        age, sex = int(random.integers(18, 90)), "MF"[int(random.integers(2))]
        labels = "|".join(phantom.findings) or "No Finding"
        rows.append([name, labels, number, _short(patient), age, sex, "PA", size, size, 0.143, 0.143])
    write_csv(folder / "Data_Entry_2017_v2020.csv", NIH_HEADER.split(","), rows)


def _write_boxes(folder: Path, numbers: list[tuple[int, int]], size: int) -> None:
    """COCO boxes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for patient, number in numbers:
        phantom = make_phantom(patient, number, size)
        image_id, name = len(images) + 1, f"p{_short(patient)}_{number}.png"
        entry = {"id": image_id, "file_name": name, "width": size, "height": size, "patient": f"p{_short(patient)}"}
        images.append(entry)
        _save(folder / "images" / name, phantom.image)
        for category, finding in enumerate(BOXED, start=1):
            for x1, y1, x2, y2 in phantom.boxes(finding):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category}
                annotations.append(ids | box)
    categories = [{"id": category, "name": name} for category, name in enumerate(BOXED, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_atomically(folder / "annotations.json", to_exact_json(content))


def _write_masks(folder: Path, numbers: list[tuple[int, int]], size: int) -> None:
    """One mask per image in one folder per organ; landmarks of the same images in a table, for a card of points."""
    rows, points = [], []
    for patient, number in numbers:
        phantom = make_phantom(patient, number, size)
        name = f"{_short(patient):05d}_{number}.png"
        _save(folder / "images" / name, phantom.image)
        rows.append([name, f"p{_short(patient)}"])
        for organ in ORGANS:
            target = folder / "masks" / organ.lower().replace(" ", "_") / name
            _save(target, phantom.mask(organ).astype(np.uint8) * 255)
        points += [[name, f"p{_short(patient)}", *cells] for cells in _points(phantom, size)]
    write_csv(folder / "index.csv", ["image", "patient"], rows)
    write_csv(folder / "landmarks.csv", ["image", "patient", "point", "x", "y", "visible", "mm"], points)


def _points(phantom: Phantom, size: int) -> Iterator[list[object]]:
    """Name, x, y, visibility and millimetres per pixel of every landmark, and of the middle of a nodule.

    A landmark outside the image is not visible; of several nodules nobody knows which is meant.
    """
    spacing = round(FIELD_OF_VIEW / size, 6)
    for name, (x, y) in phantom.landmarks.items():
        inside = 0 <= x <= size and 0 <= y <= size
        yield [name, f"{x:.3f}", f"{y:.3f}", 1, spacing] if inside else [name, "", "", 0, spacing]
    nodules = phantom.instances.get("Nodule", [])
    if len(nodules) == 1:
        x, y = centre(nodules[0])
        yield ["nodule", f"{x:.3f}", f"{y:.3f}", 1, spacing]
    else:
        yield ["nodule", "", "", "" if nodules else 0, spacing]


def _write_all(folder: Path, numbers: list[tuple[int, int]], size: int) -> None:
    """ChestX-Det's list: a name, a box and an outline per instance."""
    entries = []
    for patient, number in numbers:
        phantom = make_phantom(patient, number, size)
        name = f"p{_short(patient)}_{number}.png"
        _save(folder / "images" / name, phantom.image)
        entry: dict[str, Any] = {"file_name": name, "syms": [], "boxes": [], "polygons": []}
        for finding in draw_findings(patient):
            for mask, box in zip(phantom.instances[finding], phantom.boxes(finding), strict=True):
                entry["syms"].append(finding)
                entry["boxes"].append([float(value) for value in box])
                entry["polygons"].append(_outline(mask))
        entries.append(entry)
    write_atomically(folder / "ChestX_Det.json", to_exact_json(entries))


def _outline(mask: np.ndarray) -> list[list[float]]:
    """The largest outline of a mask, simplified, as x and y pairs."""
    largest = mask_outlines(mask)[0].astype(np.float32)
    points: list[list[float]] = cv2.approxPolyDP(largest, _CONTOUR_TOLERANCE, True)[:, 0].astype(float).tolist()
    return points
