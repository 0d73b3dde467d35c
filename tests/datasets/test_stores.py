"""Images and labels in zip, tar and Parquet files are read as if they lay in folders, without unpacking."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foundationx.core.errors import DataError
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import Severity
from foundationx.data.cache.store import image_key
from foundationx.data.dataset import CardDataset
from foundationx.data.pixels.read import read_bytes, read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.stores import store as stores
from foundationx.datasets.stores.tar import TarStore
from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def png(value: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A PNG whose pixels tell images apart: ``value`` and, in one corner, 255."""
    pixels = np.full(size[::-1], value, np.uint8)
    pixels[0, 0] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_zip(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_parquet(path, columns, features=None, group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    noted = {b"huggingface": json.dumps({"info": {"features": features or {}}}).encode()}
    pq.write_table(table.replace_schema_metadata(noted), path, row_group_size=group)


def images(*values, paths=None):
    return [{"bytes": png(value), "path": paths[index] if paths else None} for index, value in enumerate(values)]


FINDINGS = {"image_column": "file", "findings_column": "found"}


def first_values(folder, found):
    """The pixel that tells an image apart, of every image."""
    return [int(read_grey(folder.path / image)[4, 4]) for image in found.images]


# ---- zip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_of_zips_are_found_and_read_without_unpacking(folder, method):
    write_zip(folder.path / "images_01.zip", {"images/a.png": png(10), "images/.DS_Store": b"x"}, method)
    write_zip(folder.path / "images_02.zip", {"./images/b.png": png(20), "images/c.png": png(30)}, method)
    folder.write("f.csv", "file,found\na.png,Mass\nb.png,No\nc.png,Mass\n")
    options = FINDINGS | {"negative": ["No"]}
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="images_*.zip/images", options=options)
    found = folder.read(card)
    assert found.images == ["images_01.zip/images/a.png", "images_02.zip/images/b.png", "images_02.zip/images/c.png"]
    assert first_values(folder, found) == [10, 20, 30]
    assert {path.name for path in folder.path.iterdir()} == {"images_01.zip", "images_02.zip", "f.csv"}
    report = check_card(card, folder.data_root)
    assert (report.images, report.decoded, report.count(Severity.FAULT)) == (3, 3, 0)


def test_an_annotation_file_may_lie_in_the_zip_and_the_zip_beside_its_folder(folder):
    write_zip(folder.path / "all.zip", {"set/f.csv": b"file,found\na.png,Mass\n", "set/images/a.png": png(10)})
    card = make_card("findings_csv", ["Mass"], file="all.zip/set/f.csv", images="all.zip/set/images", options=FINDINGS)
    assert folder.read(card).images == ["all.zip/set/images/a.png"]
    either = make_card(
        "findings_csv",
        ["Mass"],
        file="set/f.csv | all.zip/set/f.csv",
        images="set/images | all.zip/set/images",
        options=FINDINGS,
    )
    assert folder.read(either).images == ["all.zip/set/images/a.png"]
    folder.files("set/images/a.png")
    folder.write("set/f.csv", "file,found\na.png,Mass\n")
    assert folder.read(either).images == ["set/images/a.png"]


def test_class_folders_and_masks_may_lie_in_an_archive(folder):
    write_zip(folder.path / "p.zip", {"N/a.png": png(1), "P/b.png": png(2), "__MACOSX/P/._b.png": b"x"})
    found = folder.read(make_card("class_folders", ["P"], images="p.zip", options={"negative": ["N"]}))
    assert (found.images, found.labels.tolist()) == (["p.zip/N/a.png", "p.zip/P/b.png"], [[0], [1]])
    write_tar(folder.path / "m.tar", {"images/a.png": png(9), "masks/a.png": png(0)})
    card = make_card(
        "mask_folder", ["M"], "segmentation", images="m.tar/images", options={"folders": {"M": "m.tar/masks"}}
    )
    target = CardDataset(folder.read(card), folder.path, ViewPipeline(32)).target(0, (8, 8))
    assert target.masks.sum() == 1


def test_a_damaged_zip_and_a_damaged_member_are_named(folder):
    (folder.path / "cut.zip").write_bytes(b"PK\x03\x04 no directory")
    folder.write("f.csv", "file,found\na.png,Mass\n")
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="cut.zip", options=FINDINGS)
    error = fault(folder, card)
    assert "cut.zip" in error.where and "is no complete zip archive" in error.found
    path = folder.path / "torn.zip"
    write_zip(path, {"a.png": png(1)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[45] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_bytes(path / "a.png")
    with pytest.raises(DataError, match="cannot be opened"):
        read_bytes(path / "b.png")


def test_a_member_cannot_unpack_to_more_than_it_claims(folder):
    path = folder.path / "bomb.zip"
    write_zip(path, {"a.png": b"\0" * 10_000_000})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 100)
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_bytes(path / "a.png")


def repeated(path, contents):
    """An archive that holds ``x/a.png`` with each of the contents, also written ``./x/a.png``, and b.png."""
    names = ["x/a.png", *["./x/a.png"] * (len(contents) - 1)]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in [*zip(names, contents, strict=True), ("b.png", png(9))]:
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w") as archive:
        for name, content in [*zip(names, contents, strict=True), ("b.png", png(9))]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_different_files_of_one_name_are_refused_and_equal_ones_do_no_harm(folder, kind):
    path = folder.path / f"equal.{kind}"
    repeated(path, [png(1), png(1)])
    assert list(stores.open_store(path).names()) == ["x/a.png", "b.png"]
    assert read_bytes(path / "x" / "a.png") == png(1)
    contents = [b"one film", b"another!", b"one film"]  # of one size, so that the bytes decide
    repeated(folder.path / f"joined.{kind}", contents)
    folder.write("f.csv", "file,found\nb.png,Mass\n")
    card = make_card("findings_csv", ["Mass"], file="f.csv", images=f"joined.{kind}", options=FINDINGS)
    error = fault(folder, card)
    assert "holds different files of the same name (1 names, e.g. x/a.png)" in error.found
    assert f"joined.{kind}" in error.where


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "other", ["X/A.PNG", "x/\N{LATIN SMALL LETTER A WITH DIAERESIS}.png", "x/a\N{COMBINING DIAERESIS}.png"]
)
def test_names_in_other_letters_are_files_of_their_own(folder, kind, other):
    files = {"x/a.png": png(1), other: png(2)}
    path = folder.path / f"letters.{kind}"
    (write_zip if kind == "zip" else write_tar)(path, files)
    assert {name: read_bytes(path / name) for name in stores.open_store(path).names()} == files


def test_names_that_lead_out_of_an_archive_are_passed_over(folder):
    write_zip(folder.path / "a.zip", {"../out.png": png(1), "in/../../out.png": png(1), "a.png": png(2)})
    assert list(stores.open_store(folder.path / "a.zip").names()) == ["a.png"]


# ---- tar


def test_a_webdataset_gives_images_and_labels(folder):
    for shard, values in enumerate([(1, 2), (3, 4)]):
        files = {}
        for value in values:
            key = f"{value:04d}"
            files |= {f"{key}.png": png(value), f"{key}.cls": str(value % 2).encode(), f"{key}.seg.png": png(0)}
            files[f"{key}.json"] = json.dumps({"patient": value // 2, "found": ["Mass"] * (value > 2)}).encode()
        write_tar(folder.path / f"train-{shard:04d}.tar", files)
    options = {"image_column": "image", "findings_column": "found", "blank": "negative"}
    patient = {"column": "patient"}
    found = folder.read(make_card("findings_csv", ["Mass"], file="train-*.tar", options=options, patient=patient))
    assert found.images == [f"train-000{(value - 1) // 2}.tar/{value:04d}.png" for value in (1, 2, 3, 4)]
    assert found.labels.tolist() == [[0], [0], [1], [1]]
    assert found.patients == ["tiny:0", "tiny:1", "tiny:1", "tiny:2"]
    assert first_values(folder, found) == [1, 2, 3, 4]
    labels = make_card("label_columns_csv", ["cls"], file="train-*.tar", options={"image_column": "png"})
    assert folder.read(labels).labels.tolist() == [[1], [0], [1], [0]]
    masks = make_card(
        "mask_table",
        ["M"],
        "segmentation",
        file="train-*.tar",
        options={"image_column": "png", "mask_column": "seg.png"},
    )
    read = folder.read(masks)
    assert CardDataset(read, folder.path, ViewPipeline(32)).target(3, (8, 8)).masks.sum() == 1


def test_a_tar_that_is_packed_or_cut_is_named(folder):
    (folder.path / "cut.tar").write_bytes(b"no tar")
    error = fault(folder, make_card("findings_csv", ["Mass"], file="cut.tar", options=FINDINGS))
    assert "is no complete tar archive" in error.found
    write_tar(folder.path / "a.tar", {"a.png": png(1), "a.json": b"[1]"})
    assert "contains a list" in fault(folder, make_card("findings_csv", ["M"], file="a.tar", options=FINDINGS)).found
    write_tar(folder.path / "b.tar", {"a.png": png(1), "a.json": b'{"found": 1}'})
    error = fault(folder, make_card("findings_csv", ["M"], file="b.tar", options=FINDINGS))
    assert "there is no column 'file'; found '__key__', 'image', 'png', 'found'" in error.found


@given(
    sizes=st.lists(st.integers(0, 1500), max_size=6),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    modified=st.sampled_from([0, 1700000000.25]),
    before=st.sampled_from(["", "./", "folder/", "f" * 90 + "/" + "g" * 60 + "/", "l" * 120 + "ä/"]),
)
@settings(deadline=None, max_examples=40)
def test_every_form_of_tar_has_the_files_that_the_standard_library_finds(sizes, form, modified, before):
    stream = io.BytesIO()
    contents = {f"{before}{index}.bin": bytes([index + 1]) * size for index, size in enumerate(sizes)}
    try:
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name, content in contents.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(content), modified
                archive.addfile(info, io.BytesIO(content))
            folder = tarfile.TarInfo("empty")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    except ValueError:  # USTAR has no longer names
        return
    with tempfile.TemporaryDirectory() as inside:
        path = Path(inside) / "a.tar"
        path.write_bytes(stream.getvalue())
        store = TarStore(path)
        assert {name: store.read(name) for name in store.names()} == {
            name.removeprefix("./"): content for name, content in contents.items()
        }
        path.write_bytes(stream.getvalue()[:700])
        if sizes and sizes[0] > 700:
            with pytest.raises(DataError, match="is no complete tar archive"):
                TarStore(path)


# ---- Parquet


def test_a_hugging_face_set_gives_images_and_labels(folder):
    features = {"label": {"_type": "ClassLabel", "names": ["Normal", "Mass"]}}
    for shard, values in enumerate([(1, 2, 3), (4, 5)]):
        columns = {"image": images(*values), "label": [value % 2 for value in values], "who": [7] * len(values)}
        write_parquet(folder.path / f"data/train-0000{shard}-of-00002.parquet", columns, features)
    options = {"image_column": "image", "findings_column": "label", "negative": ["Normal"]}
    card = make_card("findings_csv", ["Mass"], file="data/train-*.parquet", options=options, patient={"column": "who"})
    found = folder.read(card)
    assert found.images[3] == "data/train-00001-of-00002.parquet/image/train-00001-of-00002-000000"
    assert found.labels.tolist() == [[1], [0], [1], [0], [1]]
    assert set(found.patients) == {"tiny:7"}
    assert first_values(folder, found) == [1, 2, 3, 4, 5]
    report = check_card(card, folder.data_root)
    assert (report.images, report.decoded, report.count(Severity.FAULT)) == (5, 5, 0)


def test_published_paths_name_the_images_so_that_other_tables_fit(folder):
    features = {"labels": [{"_type": "ClassLabel", "names": ["No Finding", "Mass", "Hernia"]}]}
    columns = {"image": images(1, 2, paths=["a.png", "b.png"]), "labels": [[1, 2], [0]]}
    write_parquet(folder.path / "data/test.parquet", columns, features)
    folder.write("f.csv", "file,found\nb.png,Mass\na.png,Mass\n")
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="data/*.parquet/image", options=FINDINGS)
    found = folder.read(card)
    assert found.images == ["data/test.parquet/image/b.png", "data/test.parquet/image/a.png"]
    assert first_values(folder, found) == [2, 1]
    options = {"image_column": "image", "findings_column": "labels", "negative": ["No Finding"]}
    found = folder.read(make_card("findings_csv", ["Mass", "Hernia"], file="data/*.parquet", options=options))
    assert found.labels.tolist() == [[1, 1], [0, 0]]


BOXES = {"boxes_column": "objects.bbox", "class_column": "objects.category", "box_layout": "xywh"}


@pytest.mark.parametrize("form", ["lists", "objects"])
@pytest.mark.parametrize("noted", [True, False])
def test_boxes_of_an_image_may_be_lists_in_its_parquet_row(folder, form, noted):
    found = [[([1, 2, 3, 4], 0), ([2.5, 2, 2, 2], 1)], [], [([0, 0, 8, 8], 1)]]
    lists = [{"bbox": [one for one, _ in row], "category": [kind for _, kind in row]} for row in found]
    objects = [[{"bbox": one, "category": kind} for one, kind in row] for row in found]
    label = {"_type": "ClassLabel", "names": ["Mass", "Nodule"]}
    fields = {"bbox": {"_type": "Sequence"}, "category": label}
    features = {"objects": {"_type": "Sequence", "feature": fields} if form == "lists" else [fields]}
    columns = {"image": images(1, 2, 3), "objects": lists if form == "lists" else objects}
    write_parquet(folder.path / "a.parquet", columns, features if noted else None)
    options = BOXES | {"image_column": "image", "absent": "negative"}
    classes = (
        ["Mass", "Nodule"] if noted else [{"name": "Mass", "sources": ["0"]}, {"name": "Nodule", "sources": ["1"]}]
    )
    result = folder.read(make_card("bbox_csv", classes, "detection", file="a.parquet", options=options))
    assert result.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert result.targets[0].boxes.tolist() == [[1, 2, 4, 6], [2.5, 2, 4.5, 4]]
    assert result.targets[0].box_classes.tolist() == [0, 1] and result.targets[2].box_classes.tolist() == [1]


@pytest.mark.parametrize("form", ["lists", "objects", "keys"])
def test_boxes_of_an_image_may_be_lists_in_the_json_file_of_its_tar(folder, form):
    found = {"0001": [([1, 2, 3, 4], "Mass"), ([2, 2, 2, 2], "Nodule")], "0002": []}
    files = {}
    for key, row in found.items():
        objects = [{"bbox": one, "category": name} for one, name in row]
        lists = {"bbox": [one for one, _ in row], "category": [name for _, name in row]}
        flat = {f"objects.{name}": values for name, values in lists.items()}
        content = flat if form == "keys" else {"objects": lists if form == "lists" else objects}
        files |= {f"{key}.png": png(1), f"{key}.json": json.dumps(content).encode()}
    write_tar(folder.path / "a.tar", files)
    options = BOXES | {"image_column": "image", "absent": "negative"}
    result = folder.read(make_card("bbox_csv", ["Mass", "Nodule"], "detection", file="a.tar", options=options))
    assert result.labels.tolist() == [[1, 1], [0, 0]]
    assert result.targets[0].boxes.tolist() == [[1, 2, 4, 6], [2, 2, 4, 4]]


def test_one_name_stands_for_all_boxes_of_a_row_and_other_numbers_of_names_are_refused(folder):
    folder.files("a.png")
    options = {"image_column": "image", "boxes_column": "b", "class_column": "c", "box_layout": "xyxy"}
    card = make_card("bbox_csv", ["Mass", "Nodule"], "detection", file="b.csv", options=options)
    boxes = '"[[0,0,2,2],[3,3,5,5],[1,1,2,2]]"'
    for names, expected in (("Mass", [0, 0, 0]), ("\"['Mass', 'Nodule', 'Mass']\"", [0, 1, 0])):
        folder.write("b.csv", f"image,b,c\na.png,{boxes},{names}\n")
        assert folder.read(card).targets[0].box_classes.tolist() == expected
    folder.write("b.csv", f"image,b,c\na.png,{boxes},Mass|Nodule\n")
    assert "c has 2 names for 3 boxes" in fault(folder, card).found


def test_a_mask_may_be_a_second_column_of_images(folder):
    columns = {"image": images(1, 2), "mask": images(0, 0), "name": ["x", "y"]}
    write_parquet(folder.path / "a.parquet", columns)
    options = {"image_column": "image", "mask_column": "mask"}
    found = folder.read(make_card("mask_table", ["M"], "segmentation", file="a.parquet", options=options))
    assert CardDataset(found, folder.path, ViewPipeline(32)).target(1, (8, 8)).masks.sum() == 1


def test_rows_without_bytes_and_damaged_files_are_named(folder):
    write_parquet(folder.path / "a.parquet", {"image": [{"bytes": None, "path": "x/a.png"}], "found": ["Mass"]})
    with pytest.raises(DataError, match="holds no bytes of an image"):
        read_bytes(folder.path / "a.parquet/image/x/a.png")
    (folder.path / "b.parquet").write_bytes(b"PAR1")
    error = fault(folder, make_card("findings_csv", ["Mass"], file="b.parquet", options=FINDINGS))
    assert "is no complete Parquet file" in error.found


# ---- all of them


def test_a_store_is_read_alike_in_threads_and_in_forked_processes(folder):
    write_zip(folder.path / "a.zip", {f"{value}.png": png(value) for value in range(40)})
    write_tar(folder.path / "a.tar", {f"{value}.png": png(value) for value in range(40)})
    write_parquet(
        folder.path / "a.parquet", {"image": images(*range(40), paths=[f"{v}.png" for v in range(40)])}, group=7
    )
    for inside in ("a.zip", "a.tar", "a.parquet/image"):
        right = []

        def read_all(inside=inside, right=right):
            values = [int(read_grey(folder.path / inside / f"{value}.png")[4, 4]) for value in range(40)]
            right.append(values == list(range(40)))

        threads = [threading.Thread(target=read_all) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert right == [True] * 3
    child = os.fork()
    if not child:
        os._exit(
            0
            if read_grey(folder.path / "a.zip/7.png")[4, 4] == 7 == read_grey(folder.path / "a.tar/7.png")[4, 4]
            else 1
        )
    assert os.waitpid(child, 0)[1] == 0


def test_images_of_one_archive_have_keys_of_their_own_in_the_cache(folder):
    write_zip(folder.path / "a.zip", {"a.png": png(1), "b.png": png(2)})
    one, other = (image_key(folder.path / "a.zip" / name) for name in ("a.png", "b.png"))
    assert one != other == image_key(folder.path / "a.zip" / "b.png")
    write_zip(folder.path / "a.zip", {"a.png": png(1), "b.png": png(2), "c.png": png(3)})
    assert image_key(folder.path / "a.zip" / "a.png") != one


def test_a_folder_that_is_called_like_an_archive_stays_a_folder(folder):
    folder.files("a.zip/b.png")
    assert stores.locate(folder.path / "a.zip" / "b.png") is None
    assert stores.is_folder(folder.path / "a.zip") and stores.is_file(folder.path / "a.zip" / "b.png")
