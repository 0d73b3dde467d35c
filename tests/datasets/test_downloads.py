"""Every card on a tree as its download looks: no fault, and the tree's counts; and on copies as people hold them."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from PIL import Image

from foundationx.core.types import Split
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from tests.helpers.download_trees import TREES, montgomery_boxes, nih, tbx11k
from tests.helpers.downloads import Download, faults


@pytest.mark.parametrize("name", TREES)
def test_a_download_has_no_fault_and_its_counts(name, tmp_path):
    data = Download(tmp_path, name)
    expected, tasks = TREES[name](data)
    data.stray()
    report = data.check(expected, tasks)
    assert faults(report) == []
    assert report.decoded == report.images


@pytest.mark.parametrize("name", TREES)
def test_a_wrong_count_of_a_download_is_a_fault(name, tmp_path):
    """The counts of the test above are compared at all."""
    data = Download(tmp_path, name)
    _, tasks = TREES[name](data)
    task = next(iter(tasks))
    wrong = {key: {k: n + 1 for k, n in value.items()} if isinstance(value, dict) else value + 1
             for key, value in tasks[task].items()}  # fmt: skip
    assert len(faults(data.check({}, tasks | {task: wrong}))) >= len(wrong) - ("boxes" in wrong)


def test_boxes_of_nih_alone_are_all_on_its_test_list(tmp_path):
    """The card warns of it; the list decides if both cards are in one run."""
    boxes, labels = Download(tmp_path, "nih_bbox"), Download(tmp_path, "nih_chestxray14")
    nih(boxes)
    found, listed = boxes.read("detection"), labels.read("classification")
    side = dict(zip(listed.images, listed.splits, strict=True))
    assert {side[image] for image in found.images} == {Split.TEST}
    assert "allow_test" in (boxes.card.notes or "")


def test_boxes_of_tuberculosis_are_scaled_from_1024_pixels_to_images_of_any_shape(tmp_path):
    data = Download(tmp_path, "montgomery_boxes")
    montgomery_boxes(data)
    table = data.read("detection")
    target = CardDataset(table, data.path, ViewPipeline(32)).target(0, (96, 80))
    assert target.boxes.tolist() == [[40, 48, 80, 96]]


def test_tbx11k_leaves_out_the_image_of_tuberculosis_without_a_box(tmp_path):
    data = Download(tmp_path, "tbx11k")
    tbx11k(data)
    detection, labels = data.read("detection"), data.read("classification")
    assert "imgs/tb/tb1199.png" in labels.images and "imgs/tb/tb1199.png" not in detection.images


def as_png(data: Download, folder: str, side: int) -> None:
    """Replaces all DICOM images by PNG images of one size, side by side in one folder."""
    (data.path / folder).mkdir(parents=True, exist_ok=True)
    for path in data.path.rglob("*.dcm"):
        Image.new("L", (side, side), 90).save(data.path / folder / f"{path.stem}.png")
    for top in {path.relative_to(data.path).parts[0] for path in data.path.rglob("*.dcm")}:
        shutil.rmtree(data.path / top)


def moved(*pairs: tuple[str, str]) -> Callable[[Download], None]:
    def move(data: Download) -> None:
        for old, new in pairs:
            (data.path / new).parent.mkdir(parents=True, exist_ok=True)
            (data.path / old).rename(data.path / new)

    return move


def below(folder: str) -> Callable[[Download], None]:
    """Moves everything into a folder below that of the dataset."""

    def move(data: Download) -> None:
        names = [path.name for path in data.path.iterdir()]
        moved(*((name, f"{folder}/{name}") for name in names))(data)

    return move


def flat_padchest(data: Download) -> None:
    for path in list(data.path.rglob("*.png")):
        moved((str(path.relative_to(data.path)), f"images-224/{path.name}"))(data)


def resized(side: int) -> Callable[[Download], None]:
    def resize(data: Download) -> None:
        for path in data.path.rglob("*.png"):
            with Image.open(path) as image:
                smaller = image.convert("L").resize((side, side))
            smaller.save(path)

    return resize


def siim_png(data: Download) -> None:
    as_png(data, "train_png", 512)
    moved(("train-rle.csv", "stage_2_train.csv"))(data)


def vindr_png(data: Download) -> None:
    for path in list(data.path.rglob("*.dicom")):
        Image.new("L", (64, 64), 90).save(path.with_suffix(".png"))
        path.unlink()


def nih_bucket(data: Download) -> None:
    images = list(data.path.rglob("*.png"))
    moved(*((str(path.relative_to(data.path)), f"png/{path.name}") for path in images))(data)
    for folder in data.path.glob("images_*"):
        shutil.rmtree(folder)


def rib_annotations(data: Download) -> None:
    names = [f"{side}/Vindr_RibCXR_{side}_mask.json" for side in ("train", "val")]
    moved(*((f"data/{name}", f"Annotations/{name}") for name in names))(data)


def node21_flat(data: Download) -> None:
    for part in ("proccessed_data", "original_data"):
        names = [path.name for path in (data.path / "cxr_images" / part).iterdir()]
        moved(*((f"cxr_images/{part}/{name}", name) for name in names))(data)


COPIES: dict[str, tuple[str, Callable[[Download], None]]] = {
    "NIH at Kaggle": ("nih_chestxray14", moved(("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"))),
    "NIH in a bucket": ("nih_chestxray14", nih_bucket),
    "NIH resized": ("nih_bbox", resized(48)),
    "RSNA as PNG": ("rsna_pneumonia", lambda data: as_png(data, "stage_2_train_images_png", 32)),
    "SIIM as PNG": ("siim_acr", siim_png),
    "VinDr-CXR as PNG": ("vindr_cxr", vindr_png),
    "VinDr-CXR below its address": ("vindr_cxr", below("physionet.org/files/vindr-cxr/1.0.0")),
    "VinDr-PCXR as PNG": ("vindr_pcxr", vindr_png),
    "VinDr-RibCXR": ("vindr_ribcxr", rib_annotations),
    "PadChest in one folder": ("padchest", flat_padchest),
    "BRAX with its first table": ("brax", moved(("master_spreadsheet_update.csv", "master_spreadsheet.csv"))),
    "NODE21 in one folder": ("node21", node21_flat),
    "TBX11K with its top folder": ("tbx11k", below("TBX11K")),
    "Shenzhen unpacked twice": ("shenzhen", below("ChinaSet_AllFiles/ChinaSet_AllFiles")),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_download_has_no_fault_and_the_same_counts(copy, tmp_path):
    name, change = COPIES[copy]
    data = Download(tmp_path, name)
    expected, tasks = TREES[name](data)
    change(data)
    data.stray()
    report = data.check(expected, tasks)
    assert faults(report) == []
    assert report.decoded == report.images
