"""Worlds of small phantom datasets over one folder of images: which findings, in which form, with which marker.

Used by ``no_label_wasted.py`` and ``site_shortcut.py``. Cards and annotation files are written for every dataset; the
images of all of them lie in one folder, so that several cards can annotate the same images differently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foundationx.apps.run.train import train
from foundationx.core.atomic_write import write_csv
from foundationx.core.config.run import RunConfig
from foundationx.core.strict_json import to_exact_json
from foundationx.phantoms.phantom import Phantom, make_phantom

CONCEPTS = {
    "Nodule": "nodule",
    "Consolidation": "consolidation",
    "Effusion": "pleural_effusion",
    "Pneumothorax": "pneumothorax",
    "Cardiomegaly": "cardiomegaly",
}
HEADER = """name: {name}
title: Generated radiographs of a benchmark
licence: {{name: CC0, spdx: CC0-1.0, redistribution: yes, commercial: yes}}
access: generated
root: world
patient: {{{patient}, namespace: world}}
{attributes}tasks:
"""


@dataclass(frozen=True)
class Drawn:
    """One image of a world.

    Attributes:
        name: File name.
        phantom: Image and ground truth.
        site: Hospital.
    """

    name: str
    phantom: Phantom
    site: str


@dataclass(frozen=True)
class Annotated:
    """A dataset: the images that it annotates, and findings by form (``labels``, ``boxes``, ``masks``)."""

    name: str
    images: Sequence[Drawn]
    forms: Mapping[str, Sequence[str]]
    with_sites: bool = field(default=False)


def train_to_the_end(config: RunConfig, root: Path, work: Path) -> None:
    """Trains an arm in ``work`` or goes on with it. Raises SystemExit if it was asked to stop before."""
    if not train(config, root, work):
        raise SystemExit("stopped before its end; the same command goes on")


def draw(
    root: Path,
    first_patient: int,
    count: int,
    size: int,
    prevalence: Mapping[str, float],
    site: Callable[[np.random.Generator, Sequence[str]], str] = lambda random, findings: "none",
    marked: Sequence[str] = (),
) -> list[Drawn]:
    """Draws images of fresh patients, one each, and writes them.

    Args:
        root: Data root.
        first_patient: Number of the first patient.
        count: Number of images.
        size: Side in pixels.
        prevalence: Share of the patients that have each finding.
        site: Hospital of an image with these findings.
        marked: Hospitals whose images carry a bright marker in a corner.
    """
    folder = root / "world" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for patient in range(first_patient, first_patient + count):
        random = np.random.default_rng([patient, 77])
        findings = [name for name, share in prevalence.items() if random.random() < share]
        phantom = make_phantom(patient, 0, size, findings)
        place = site(random, findings)
        image = _with_marker(phantom.image) if place in marked else phantom.image
        name = f"{patient}.png"
        cv2.imwrite(str(folder / name), image)
        drawn.append(Drawn(name, phantom, place))
    return drawn


def _with_marker(image: np.ndarray) -> np.ndarray:
    """A bright block in the upper left corner, as a letter of lead would be."""
    marked, side = image.copy(), image.shape[0] // 8
    marked[side // 4 : side // 4 + side, side // 4 : side // 4 + side] = 255
    return marked


def write(root: Path, registry: Path, dataset: Annotated) -> None:
    """Writes annotation files and card of a dataset."""
    world, name = root / "world", dataset.name
    registry.mkdir(parents=True, exist_ok=True)
    attributes = ""
    if dataset.with_sites:
        columns = "{hospital: hospital}"
        attributes = f"attributes: {{files: [{name}.csv], image_column: image, columns: {columns}}}\n"
    table = f"tables: [{{file: {name}.csv, image_column: image, value_column: patient}}]"
    text = HEADER.format(name=name, patient=table, attributes=attributes)
    names = dataset.forms.get("labels", ())
    rows = [
        [image.name, image.phantom.patient, image.site, *(int(n in image.phantom.findings) for n in names)]
        for image in dataset.images
    ]
    write_csv(world / f"{name}.csv", ["image", "patient", "hospital", *names], rows)
    writers = {"labels": _labels, "boxes": _boxes, "masks": _masks}
    for form, findings in dataset.forms.items():
        text += writers[form](world, dataset, findings)
        text += "    classes:\n" + "".join(f"      - {{name: {n}, canonical: {CONCEPTS[n]}}}\n" for n in findings)
    (registry / f"{name}.yaml").write_text(text)


def _labels(world: Path, dataset: Annotated, findings: Sequence[str]) -> str:
    return (
        "  classification:\n    reader: label_columns_csv\n"
        f"    file: {dataset.name}.csv\n    images: images\n    options: {{image_column: image}}\n"
    )


def _boxes(world: Path, dataset: Annotated, findings: Sequence[str]) -> str:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in dataset.images:
        height, width = image.phantom.image.shape
        images.append({"id": len(images) + 1, "file_name": image.name, "width": width, "height": height})
        for category, finding in enumerate(findings, start=1):
            for x1, y1, x2, y2 in image.phantom.boxes(finding):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                ids = {"id": len(annotations) + 1, "image_id": len(images), "category_id": category}
                annotations.append(ids | box)
    categories = [{"id": number, "name": name} for number, name in enumerate(findings, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (world / f"{dataset.name}.json").write_text(to_exact_json(content))
    return f"  detection:\n    reader: coco\n    file: {dataset.name}.json\n    images: images\n"


def _masks(world: Path, dataset: Annotated, findings: Sequence[str]) -> str:
    """Run-lengths of COCO: masks of this dataset's images alone."""
    folder = world / f"{dataset.name}_masks"
    for finding in findings:
        (folder / finding).mkdir(parents=True, exist_ok=True)
        for image in dataset.images:
            mask = image.phantom.mask(finding).astype(np.uint8) * 255
            cv2.imwrite(str(folder / finding / image.name), mask)
    own = world / f"{dataset.name}_images"
    own.mkdir(exist_ok=True)
    for image in dataset.images:
        link = own / image.name
        if not link.exists():
            link.hardlink_to(world / "images" / image.name)
    folders = ", ".join(f"{finding}: {folder.name}/{finding}" for finding in findings)
    options = f"{{folders: {{{folders}}}, positive: 255}}"
    return f"  segmentation:\n    reader: mask_folder\n    images: {own.name}\n    options: {options}\n"


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())
