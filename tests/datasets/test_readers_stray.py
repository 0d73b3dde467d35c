"""What real trees hold beside images: left-over files, archives unpacked twice, MetaImage pairs, absent outlines."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import CardError, DataError
from foundationx.core.types import Task
from foundationx.curation.check.files import unannotated_files
from foundationx.datasets.readers._images import Images
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._stray import image_files, is_stray_folder
from tests.helpers.reader_cards import Folder, fault, make_card

STRAY = (
    *("Thumbs.db", "thumbs.DB", ".DS_Store", "._a_0.png", "desktop.ini", "Desktop.ini", "Icon\r", "ehthumbs.db"),
    *("readme.txt", "README.md", "index.html", "SHA256SUMS.txt", "labels.csv", "notes.PDF", "masks.zip", "a.json"),
    *("~$notes.docx", "a_0.png~", ".~lock.notes.odt#"),
)
TB = {"name": "TB", "sources": ["1"]}
STRAY_FOLDERS = ("__MACOSX", ".ipynb_checkpoints", "@eaDir", ".git", "$RECYCLE.BIN")
"""Each holds a copy named like a true file, as systems leave it."""


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def litter(folder: Folder, *places: str) -> None:
    """Puts every kind of left-over into some folders of the dataset."""
    for place in places:
        folder.files(*(f"{place}/{name}" for name in STRAY))
        folder.files(*(f"{place}/{name}/{file}" for name in STRAY_FOLDERS for file in ("a_0.png", "._a_0.png")))


def test_mask_folders_hold_left_overs(folder):
    folder.files("images/a_0.png", "images/b_1.png", "left/a_0.png", "right/a_0.png", "right/b_1.png")
    litter(folder, "images", "left", "right", "")
    card = make_card(
        "mask_folder",
        ["Left Lung", "Right Lung"],
        "segmentation",
        images="images",
        options={"folders": {"Left Lung": "left", "Right Lung": "right"}},
    )
    result = folder.read(card)
    assert result.images == ["images/a_0.png", "images/b_1.png"]
    np.testing.assert_array_equal(result.labels, [[1, 1], [math.nan, 1]])


def test_files_of_mask_folders_are_skipped_by_name(folder):
    folder.files("images/a.png", "masks/a.png", "masks/a_preview.png", "masks/legend.png")

    def read(**more):
        options = {"folders": {"Lung": "masks"}} | more
        return folder.read(make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options))

    result = read(skip_names=r".*_preview\.png|legend\.png")
    assert result.images == ["images/a.png"] and result.targets[0][0].file == "masks/a.png"
    with pytest.raises(DataError, match="skip_names"):
        read()
    with pytest.raises(CardError, match="skip_names"):
        read(skip_names="(")


def test_names_with_labels_stand_beside_left_overs(folder):
    folder.files("images/a_0.png", "images/b_1.png")
    litter(folder, "images", "")
    for images in ("images", "*", "**"):
        card = make_card(
            "name_pattern",
            [TB],
            images=images,
            options={"pattern": r"_([01])\.png$", "negative": ["0"]},
        )
        assert folder.read(card).images == ["images/a_0.png", "images/b_1.png"]


def test_class_folders_stand_beside_left_overs(folder):
    folder.files("train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg")
    litter(folder, "train", "train/NORMAL", "train/PNEUMONIA", "")
    result = folder.read(make_card("class_folders", ["PNEUMONIA"], images="train", options={"negative": ["NORMAL"]}))
    assert result.images == ["train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg"]


def test_tables_find_their_images_beside_copies_in_left_over_folders(folder):
    folder.files("set_1/images/a_0.png", "set_2/images/b_1.png")
    litter(folder, "", "set_1", "set_2", "set_1/images")
    folder.write("l.csv", "image,TB\na_0.png,0\nb_1.png,1\n")
    for images in ("set*/**", "**", "set_?/images"):
        card = make_card("label_columns_csv", ["TB"], file="l.csv", images=images, options={"image_column": "image"})
        assert folder.read(card).images == ["set_1/images/a_0.png", "set_2/images/b_1.png"]


def test_a_file_without_suffix_is_an_image(folder):
    """CANDID-PTX names its files as their SOP instance UIDs."""
    folder.files("dataset/1.2.840.1_0", "dataset/1.2.840.2_1")
    litter(folder, "dataset")
    result = folder.read(
        make_card("name_pattern", [TB], images="dataset", options={"pattern": "_([01])$", "negative": ["0"]})
    )
    assert result.images == ["dataset/1.2.840.1_0", "dataset/1.2.840.2_1"]


def test_left_overs_are_no_unannotated_images(folder):
    folder.files("images/a_0.png", "images/c_0.png")
    litter(folder, "images")
    folder.write("l.csv", "image,TB\na_0.png,0\n")
    card = make_card("label_columns_csv", ["TB"], file="l.csv", images="images", options={"image_column": "image"})
    listing = Images(DatasetFolder(folder.path, folder.data_root))
    table = folder.read(card)
    assert unannotated_files({Task.CLASSIFICATION: table}, [], ["images"], listing) == ["images/c_0.png"]


@pytest.mark.parametrize("raw", ["raw", "RAW", "zraw", "mhd.raw"])
def test_the_pixels_of_a_metaimage_are_neither_image_nor_mask(folder, raw):
    """CRASS: data_train and mask_mhd hold pairs of .mhd and .raw."""
    for name in ("0000", "0001"):
        folder.files(*(f"{place}/{name}.{end}" for place in ("data", "mask") for end in ("mhd", raw)))
    folder.files("data/alone.raw")
    options = {"folders": {"Clavicles": "mask"}, "mask_name": "{image_stem}.mhd"}
    card = make_card("mask_folder", ["Clavicles"], "segmentation", images="data", options=options)
    assert folder.read(card).images == ["data/0000.mhd", "data/0001.mhd"]
    folder.files("mask/0009.raw")
    assert fault(folder, card).where == "mask/0009.raw"  # without its header it is no part of a pair


@pytest.mark.parametrize("pattern", ["mask", "mas?", "./mask/"])
def test_a_folder_unpacked_into_one_of_its_name_is_read(folder, pattern):
    folder.files("images/a.png", "mask/mask/a_mask.png", "mask/.DS_Store", "mask/Thumbs.db", "mask/__MACOSX/mask/x.png")
    options = {"folders": {"Lung": pattern}, "mask_name": "{image_stem}_mask.png"}
    card = make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options)
    (part,) = folder.read(card).targets[0]
    assert part.file == "mask/mask/a_mask.png"


def test_a_folder_with_files_or_other_folders_is_taken_as_it_is(folder):
    folder.files("mask/mask/a.png", "mask/b.png", "other/other/c.png", "other/more/d.png", "up/x/x/e.png")
    listing = Images(DatasetFolder(folder.path, folder.data_root))
    assert listing.matching("mask") == ("mask",)
    assert listing.matching("other") == ("other",)
    assert listing.matching("up/x") == ("up/x/x",)
    assert listing.matching("*") == ("mask", "other", "up")


@pytest.mark.parametrize("folder_name", [*STRAY_FOLDERS, "__macosx"])
def test_left_over_folders_are_known(folder_name):
    assert is_stray_folder(folder_name)


@settings(max_examples=100, deadline=None)
@given(
    st.sets(st.from_regex(r"[a-zA-Z0-9_]{1,8}(\.(png|jpg|JPEG|dcm|dicom|mha|IMG|tif|gif|bmp|PNG))?", fullmatch=True))
)
def test_images_of_every_format_are_kept(names):
    assert image_files(sorted(names)) == sorted(names)


ABSENT = ["None", "none", " NONE ", "null", "nan", "", "[]", None, [], [[]], {}, math.nan]
SQUARE = [{"x": 1, "y": 1}, {"x": 5, "y": 1}, {"x": 5, "y": 5}]


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("meaning", ["unknown", "negative"])
def test_a_rib_that_is_absent_has_no_polygon(folder, absent, meaning):
    """VinDr-RibCXR writes the text None."""
    folder.files("data/a.png", "data/b.png")
    content = {"img": {"0": "data/a.png", "1": "data/b.png"}, "R1": {"0": SQUARE, "1": absent}, "R2": {"0": absent}}
    folder.write("r.json", json.dumps(content))
    options = {"image_column": "img", "absent": meaning}
    result = folder.read(
        make_card("polygon_columns_json", ["R1", "R2"], "segmentation", file="r.json", options=options)
    )
    other = math.nan if meaning == "unknown" else 0.0
    np.testing.assert_array_equal(result.labels, [[1, other], [other, other]])
    assert [len(parts) for parts in result.targets] == [1, 0]


@pytest.mark.parametrize("points", ["Nome", "0", [1, 2], [[1, 2], [3, 4]], 7, True, {"x": 1}])
def test_anything_else_that_is_no_polygon_stays_a_fault(folder, points):
    folder.files("a.png")
    folder.write("r.json", json.dumps({"img": {"0": "a.png"}, "R1": {"0": points}}))
    options = {"image_column": "img"}
    error = fault(folder, make_card("polygon_columns_json", ["R1"], "segmentation", file="r.json", options=options))
    assert error.where == "r.json image 0 R1"


@pytest.mark.parametrize("absent", ABSENT)
def test_a_finding_without_outline_is_unknown_but_keeps_its_box(folder, absent):
    folder.files("a.png")
    corners = [1, 1, 9, 9]
    record = {"file_name": "a.png", "syms": ["Nodule", "Mass"], "boxes": [corners, corners]}
    polygons = [absent, [[1, 1], [5, 1], [5, 5]]]
    folder.write("c.json", json.dumps([record | {"polygons": polygons}]))
    card = make_card("chestx_det", ["Nodule", "Mass", "Fracture"], "segmentation", file="c.json")
    result = folder.read(card)
    np.testing.assert_array_equal(result.labels, [[math.nan, 1, 0]])
    assert [part.class_index for part in result.targets[0]] == [1]
    boxes = folder.read(make_card("chestx_det", ["Nodule", "Mass", "Fracture"], "detection", file="c.json"))
    assert boxes.targets[0].boxes.tolist() == [corners, corners]
