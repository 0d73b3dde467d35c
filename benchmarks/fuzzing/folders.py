"""Data roots that inputs are planted in: every layout of generated images, and the real published files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundationx.datasets.cards.catalog import Catalog
from fuzzing.images import made
from tests.helpers.cards import all_cards
from tests.helpers.layouts import LAYOUTS, write_layout

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".mha", ".IMG", ".dicom")


@dataclass(frozen=True)
class Download:
    """A dataset as downloaded, with its card.

    Attributes:
        card: values of the card.
        data_root: folder of all datasets.
        folder: the dataset's.
        tables: files of annotations, patients and splits, at most one level above the folder.
        images: a few of its image and mask files.
    """

    card: dict[str, Any]
    data_root: Path
    folder: Path
    tables: tuple[Path, ...]
    images: tuple[Path, ...]


def downloads(base: Path, shared: Path | None) -> list[Download]:
    """Writes all of them below ``base``, and a folder ``outside`` that no card may lead to."""
    outside = base / "outside"
    outside.mkdir()
    for name, content in made().items():
        (outside / name).write_bytes(content)
    (outside / "secret.png").write_bytes(made()["grey.png"])
    (outside / "secret.csv").write_text("image,patient,Patient ID,label\na.png,1,1,1\n")
    result = [_generated(name, base / "generated") for name in LAYOUTS]
    if shared is not None:
        shutil.copytree(shared / "cxr_multi", base / "multi")
        catalog = all_cards()
        names = [name for name in catalog.names() if name.startswith("multi_")]
        result += [_of_card(catalog, name, base / "multi") for name in names]
        _published(shared / "annotations", base / "published")
        real = ("nih_chestxray14", "nih_bbox", "chestx_det", "node21", "tbx11k")
        result += [_of_card(catalog, name, base / "published") for name in real]
    return result


def _generated(name: str, data_root: Path) -> Download:
    data_root.mkdir(exist_ok=True)
    card = write_layout(name, data_root)
    values = card.model_dump(mode="json", exclude_unset=True)
    return _download(values, data_root, data_root / name)


def _of_card(catalog: Catalog, name: str, data_root: Path) -> Download:
    values = catalog.card(name).model_dump(mode="json", exclude_unset=True)
    return _download(values, data_root, data_root / values["root"])


def _download(values: dict[str, Any], data_root: Path, folder: Path) -> Download:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.suffix not in IMAGE_SUFFIXES]
    above = data_root / "index.csv"
    if above.is_file() and "index.csv" in json.dumps(values):
        tables.append(above)
    images = [path for path in files if path.suffix in IMAGE_SUFFIXES and path.stat().st_size]
    return Download(values, data_root, folder, tuple(tables), tuple(images[:6] + images[-6:]))


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _touch(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def _published(source: Path, root: Path) -> None:
    """The real annotation files where their cards expect them; most images are empty files, for none is kept here."""
    nih = root / "nih_chestxray14"
    _put(source / "nih_chestxray14/Data_Entry_2017_v2020.head3000.csv", nih / "Data_Entry_2017_v2020.csv")
    _put(source / "nih_chestxray14/BBox_List_2017.csv", nih / "BBox_List_2017.csv")
    names = [path.read_text().splitlines()[1:] for path in sorted(nih.glob("*.csv"))]
    _touch(nih / "images", sorted({line.split(",")[0] for lines in names for line in lines}))
    (nih / "test_list.txt").write_text("\n".join(line.split(",")[0] for line in names[1][::7]))
    _put(source / "chestx_det/ChestX_Det_test.json", root / "chestx_det/ChestX_Det_test.json")
    records = json.loads((root / "chestx_det/ChestX_Det_test.json").read_text())
    _touch(root / "chestx_det/test_data", [record["file_name"] for record in records])
    _touch(root / "chestx_det/train_data", ["1.png"])
    empty = {"file_name": "1.png", "syms": [], "boxes": [], "polygons": []}
    (root / "chestx_det/ChestX_Det_train.json").write_text(json.dumps([empty]))
    node, maps = root / "node21/cxr_images/proccessed_data", root / "node21/cxr_images/original_data"
    _put(source / "node21/metadata.csv", node / "metadata.csv")
    _put(source / "node21/non_nodule_filenames_orig_and_new.csv", maps / "non_nodule_filenames_orig_and_new.csv")
    (maps / "filenames_orig_and_new.csv").write_text("original_image_name,orig_dataset,node21_img_id\n")
    lines = (node / "metadata.csv").read_text().splitlines()
    column = lines[0].split(",").index("img_name")
    _touch(node / "images", sorted({line.split(",")[column] for line in lines[1:]}))
    tbx = root / "tbx11k"
    shutil.copytree(source / "tbx11k/imgs", tbx / "imgs")
    _touch(tbx / "imgs/sick", ["s0001.png"])
    _put(source / "tbx11k/TBX11K_train.json", tbx / "annotations/json/TBX11K_train.json")
    _put(source / "tbx11k/TBX11K_train.json", tbx / "annotations/json/TBX11K_val.json")
    content = json.loads((tbx / "annotations/json/TBX11K_val.json").read_text())
    (tbx / "annotations/json/TBX11K_val.json").write_text(json.dumps(content | {"images": [], "annotations": []}))
    for side in ("train", "val"):
        (tbx / "lists").mkdir(exist_ok=True)
        (tbx / "lists" / f"TBX11K_{side}.txt").write_text("tb/tb0005.png\n" if side == "train" else "tb/tb0007.png\n")
