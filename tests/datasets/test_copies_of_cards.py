"""Copies of public datasets that need one line more than the card (`data check NAME --options`), or an own card."""

from __future__ import annotations

import shutil
import zipfile

import pytest
from PIL import Image

from foundationx.apps.cli.data_check import _by_task
from foundationx.core.errors import CardError, ConfigError
from foundationx.core.types import Split, Task
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import IssueKind, Severity
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.annotations import read_annotations
from tests.datasets.test_stores import write_parquet, write_tar
from tests.helpers.download_trees import nih, siim_acr
from tests.helpers.downloads import Download
from tests.helpers.reader_cards import Folder, make_card


def zipped(data: Download) -> None:
    """The zips of Box and of Hugging Face, as they are downloaded."""
    for folder in sorted(data.path.glob("images_0*")):
        with zipfile.ZipFile(data.path / f"{folder.name}.zip", "w") as archive:
            for path in (folder / "images").iterdir():
                archive.write(path, f"images/{path.name}")
        shutil.rmtree(folder)


def sharded(data: Download) -> None:
    """Shards of webdataset."""
    for number, folder in enumerate(sorted(data.path.glob("images_0*"))):
        files = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
        write_tar(data.path / f"shard-{number:04d}.tar", files)
        shutil.rmtree(folder)


def in_parquet(data: Download) -> None:
    """Parquet files of Hugging Face with published file names."""
    for number, folder in enumerate(sorted(data.path.glob("images_0*"))):
        rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted((folder / "images").iterdir())]
        write_parquet(data.path / "data" / f"train-{number:05d}.parquet", {"image": rows})
        shutil.rmtree(folder)


def as_jpg(data: Download) -> None:
    """A flat folder of JPEG images, of another name."""
    (data.path / "resized").mkdir()
    for folder in sorted(data.path.glob("images_0*")):
        for path in (folder / "images").iterdir():
            with Image.open(path) as image:
                image.convert("L").resize((48, 48)).save(data.path / "resized" / f"{path.stem}.jpg")
        shutil.rmtree(folder)


ONE_LINE = {
    "zips unread": (zipped, ["images=images_*.zip/images"]),
    "tar shards": (sharded, ["images=shard-*.tar"]),
    "Parquet": (in_parquet, ["images=data/*.parquet/image"]),
    "resized to JPEG": (as_jpg, ["images=resized", "image_suffix='|.jpg'"]),
}


@pytest.mark.parametrize("copy", ONE_LINE)
def test_nih_with_one_option(copy, tmp_path):
    """Labels, official split, patients and boxes are those of the published files."""
    change, options = ONE_LINE[copy]
    data, boxes = Download(tmp_path, "nih_chestxray14"), Download(tmp_path, "nih_bbox")
    nih(data)
    original = data.read("classification")
    change(data)
    found = read_annotations(
        data.card.with_options(_by_task([f"classification.{option}" for option in options])),
        Task.CLASSIFICATION,
        tmp_path,
    )
    assert found.labels.tolist() == original.labels.tolist() and found.patients == original.patients
    assert found.splits == original.splits == [None, None, Split.TEST]
    card = boxes.card.with_options(_by_task([f"detection.{option}" for option in options]))
    read = read_annotations(card, Task.DETECTION, tmp_path)
    side = 48 if copy == "resized to JPEG" else 64
    target = CardDataset(read, boxes.path, ViewPipeline(32)).target(0, (side, side))
    corners = [10.5, 12.25, 30.5, 42.25]
    assert target.boxes[0].tolist() == pytest.approx([corner * side / 1024 for corner in corners])
    report = check_card(card, tmp_path)
    assert report.decoded == 1
    assert {issue.kind for issue in report.issues if issue.severity is Severity.FAULT} <= {IssueKind.COUNTS}


def test_siim_in_a_folder_of_any_name(tmp_path):
    data = Download(tmp_path, "siim_acr")
    siim_acr(data)
    (data.path / "png_images").mkdir()
    for path in list(data.path.rglob("*.dcm")):
        Image.new("L", (512, 512), 90).save(data.path / "png_images" / f"{path.stem}.png")
    shutil.rmtree(data.path / "dicom-images-train")
    card = data.card.with_options(_by_task(["segmentation.images=png_images"]))
    found = read_annotations(card, Task.SEGMENTATION, tmp_path)
    masks = CardDataset(found, data.path, ViewPipeline(32)).target(1, (512, 512)).masks
    assert masks.shape == (1, 512, 512)


def test_options_of_a_copy_that_are_wrong_are_named(tmp_path):
    card = Download(tmp_path, "vindr_cxr").card
    with pytest.raises(CardError, match="file is given for a task of several files"):
        card.with_options({Task.DETECTION: {"file": "train.csv"}})
    changed = card.with_options({Task.DETECTION: {"images": "png", "image_suffix": ".png"}})
    assert {(part.images, part.image_suffix) for part in changed.tasks[Task.DETECTION].files} == {(("png",), ".png")}
    with pytest.raises(CardError, match="image_path"):
        card.with_options({Task.DETECTION: {"image_path": "no column"}})
    with pytest.raises(ConfigError, match="did you mean 'detection'"):
        _by_task(["detectoin.images=png"])


# ---- copies of another form, with a card of one's own


VINDR_KAGGLE = {
    "image_column": "image_id",
    "class_column": "class_name",
    "box_columns": ["x_min", "y_min", "x_max", "y_max"],
    "box_layout": "xyxy",
    "empty_column": "class_name",
    "empty_values": ["No finding"],
    "absent": "negative",
    "reader_column": "rad_id",
}


@pytest.mark.parametrize("side", [None, 512])
def test_vindr_of_the_kaggle_challenge_as_dicom_and_squeezed_to_png(tmp_path, side):
    """`train.csv` of the challenge; that of the PNG copies has the size of each DICOM image."""
    folder = Folder(tmp_path)
    rows = [["a", "Mass", 11, reader, 100, 200, 300, 400, 1000, 2000] for reader in ("R8", "R9")]
    rows += [["b", "No finding", 14, "R8", "", "", "", "", 1000, 2000]]
    header = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max,width,height"
    folder.write("train.csv", "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    suffix = ".dicom" if side is None else ".png"
    folder.files(f"train/a{suffix}", f"train/b{suffix}")
    sized = {} if side is None else {"reference_size": ["width", "height"], "any_aspect": True}
    card = make_card(
        "bbox_csv", ["Mass"], "detection", file="train.csv", images="train", image_suffix=".dicom | .png",
        options=VINDR_KAGGLE | sized,
    )  # fmt: skip
    found = folder.read(card)
    assert found.labels.tolist() == [[1], [0]]
    size = (2000, 1000) if side is None else (side, side)
    (box,) = CardDataset(found, folder.path, ViewPipeline(32)).target(0, size).boxes.tolist()
    scale = [size[1] / 1000, size[0] / 2000] * 2
    assert box == pytest.approx([corner * factor for corner, factor in zip([100, 200, 300, 400], scale, strict=True)])


def test_siim_of_vbookshelf_has_masks_as_files(tmp_path):
    folder, names = Folder(tmp_path), ("0_train_1_.png", "1_train_0_.png")
    rows = f"new_filename,ImageId,has_pneumo\n{names[0]},1.2.3,1\n{names[1]},1.2.4,0\n"
    folder.write("stage_1_train_images.csv", rows)
    folder.files(*(f"{part}/{name}" for part in ("png_images", "png_masks") for name in names))
    values = {"file": "stage_1_train_images.csv", "images": "png_images", "options": {"image_column": "new_filename"}}
    labels = make_card("label_columns_csv", [{"name": "Pneumothorax", "sources": ["has_pneumo"]}], **values)
    assert folder.read(labels).labels.tolist() == [[1], [0]]
    options = {"folders": {"Pneumothorax": "png_masks"}, "positive": 255}
    masks = make_card("mask_folder", ["Pneumothorax"], "segmentation", images="png_images", options=options)
    assert len(folder.read(masks).targets) == 2


def test_shenzhen_and_montgomery_mixed_are_read_each_without_the_other(tmp_path):
    names = ("CHNCXR_0001_0", "CHNCXR_0327_1", "MCUCXR_0001_0", "MCUCXR_0113_1")
    for card, prefix in (("shenzhen", "CHNCXR"), ("montgomery", "MCUCXR")):
        data = Download(tmp_path, card)
        data.images(*(f"CXR_png/{name}.png" for name in names))
        found = read_annotations(data.card, Task.CLASSIFICATION, tmp_path)
        assert found.images == [f"CXR_png/{name}.png" for name in names if name.startswith(prefix)]
        assert found.labels.tolist() == [[0], [1]]
    masks = Download(tmp_path, "shenzhen_masks")
    masks.masks("masks/CHNCXR_0327_1_mask.png", "masks/MCUCXR_0001_0.png", "masks/MCUCXR_0113_1.png")
    found = read_annotations(masks.card, Task.SEGMENTATION, tmp_path)
    assert found.images == ["CXR_png/CHNCXR_0327_1.png"]
    masks = Download(tmp_path, "montgomery_masks")
    masks.masks("masks/CHNCXR_0327_1_mask.png", "masks/MCUCXR_0001_0.png", "masks/MCUCXR_0113_1.png")
    found = read_annotations(masks.card, Task.SEGMENTATION, tmp_path)
    assert found.images == ["CXR_png/MCUCXR_0001_0.png", "CXR_png/MCUCXR_0113_1.png"]
