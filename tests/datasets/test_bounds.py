"""What is read stays inside the data root and within limits: links, packed files, YAML, pipes, messages."""

import gzip
import json
import os
import zlib

import pytest

from foundationx.apps.run.excluded import write_quarantine
from foundationx.core.errors import LONGEST, CardError, DataError
from foundationx.core.types import BadSample, Task
from foundationx.data.pixels.read import read_grey
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards import strict_yaml
from foundationx.datasets.cards.card import Card, load_card
from foundationx.datasets.exclusion import read_exclusions
from foundationx.datasets.readers import _files, _tables
from foundationx.datasets.readers._images import Images
from foundationx.datasets.readers._paths import DatasetFolder
from tests.data.test_pixels import RAMP, dicom
from tests.helpers.reader_cards import Folder, card_values, make_card

CARD = make_card("label_columns_csv", ["Mass"], file="f.csv", images="images", options={"image_column": "file"})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    folder = Folder(tmp_path / "data")
    folder.files("images/a.png", "images/b.png")
    folder.write("f.csv", "file,Mass\na.png,1\nb.png,0\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f.csv").write_text("file,Mass\na.png,1\n")
    (tmp_path / "outside" / "b.png").touch()
    return folder


def swap(path, target):
    path.unlink()
    path.symlink_to(target)


def read_fault(folder, card=CARD, kind=DataError):
    with pytest.raises(kind) as caught:
        folder.read(card)
    return caught.value


def test_a_linked_image_that_leads_out_is_the_fault_of_its_row_alone(folder, tmp_path):
    swap(folder.path / "images" / "b.png", tmp_path / "outside" / "b.png")
    error = read_fault(folder)
    assert error.where == "f.csv row 3" and "images/b.png is a link that leads out of the data root" in error.found
    result = folder.read(CARD, skip=True)
    assert result.images == ["images/a.png"]
    assert [(bad.file, bad.row) for bad in result.bad] == [("b.png", "f.csv row 3")]


def test_linked_tables_and_folders_that_lead_out_are_refused(folder, tmp_path):
    swap(folder.path / "f.csv", tmp_path / "outside" / "f.csv")
    assert "f.csv is a link that leads out" in read_fault(folder).found
    (folder.path / "f.csv").unlink()
    folder.write("f.csv", "file,Mass\na.png,1\n")
    (folder.path / "images").rename(tmp_path / "outside" / "images")
    (folder.path / "images").symlink_to(tmp_path / "outside" / "images")
    for images in ("images", "im*", "images/**", "*/../images"):
        card = make_card("label_columns_csv", ["Mass"], file="f.csv", images=images, options={"image_column": "file"})
        assert "is a link that leads out" in read_fault(folder, card).found, images


def test_links_inside_the_data_root_and_a_linked_dataset_are_read(folder, tmp_path):
    (folder.data_root / "shelf").mkdir()
    (folder.path / "images" / "b.png").rename(folder.data_root / "shelf" / "b.png")
    (folder.path / "images" / "b.png").symlink_to("../../shelf/b.png")
    assert folder.read(CARD).images == ["images/a.png", "images/b.png"]
    # The whole dataset elsewhere, and linked; a table beside it, in a folder that is a link as well.
    folder.path.rename(tmp_path / "outside" / "tiny")
    folder.path.symlink_to(tmp_path / "outside" / "tiny")
    (folder.path / "kept").mkdir()
    (folder.path / "kept" / "c.png").touch()
    swap(folder.path / "images" / "b.png", folder.path / "kept" / "c.png")
    assert folder.read(CARD).images == ["images/a.png", "kept/c.png"]  # the file, by its own name
    swap(folder.path / "images" / "b.png", folder.path / "images" / "a.png")
    with pytest.raises(DataError, match=r"images/a\.png is repeated"):
        folder.read(CARD)
    (folder.data_root / "lists").symlink_to(tmp_path / "outside")
    beside = make_card(
        "label_columns_csv", ["Mass"], file="../lists/f.csv", images="images", options={"image_column": "file"}
    )
    assert folder.read(beside).images == ["images/a.png"]


@pytest.mark.parametrize("root", ["..", "../outside", "/", "tiny/../../outside", "a\0b"])
def test_a_dataset_outside_the_data_root_is_refused(folder, root):
    values = card_values("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"})
    with pytest.raises(CardError, match="outside the data root"):
        folder.read(Card.model_validate(values | {"root": root}))
    with pytest.raises(CardError, match="outside the data root"):
        read_annotations(CARD, Task.CLASSIFICATION, folder.data_root, root=root)


@pytest.mark.parametrize("name", ["../../outside/f.csv", "/etc/hostname"])
def test_split_lists_and_patient_tables_stand_in_the_data_root(folder, name):
    options = {"file": "f.csv", "images": "images", "options": {"image_column": "file"}}
    lists = make_card("label_columns_csv", ["Mass"], splits={"lists": {"test": name}}, **options)
    assert "splits.lists.test" in read_fault(folder, lists, CardError).where
    patient = {"tables": [{"file": name, "image_column": "file", "value_column": "Mass"}]}
    table = make_card("label_columns_csv", ["Mass"], patient=patient, **options)
    assert "patient.tables" in read_fault(folder, table, CardError).where


def test_patterns_find_what_pathlib_finds(tmp_path):
    for name in ("a/x/1", "a/y", "b/x", ".c/x", "ab/x/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "file").touch()
    (tmp_path / "ab" / "x" / "file").touch()  # without it, ab/x/x would be taken for ab/x, unpacked twice
    (tmp_path / "b" / "up").symlink_to("..")
    for pattern in ("*", "a*", "*/x", "**", "a/**", "**/x", "?", "*b/*", "a/x", "./a//x", "*/*/1"):
        paths = [path.relative_to(tmp_path) for path in tmp_path.glob(pattern) if path.is_dir()]
        expected = sorted(str(path) for path in paths if ".c" not in path.parts)  # hidden ones belong to no dataset
        result = Images(DatasetFolder(tmp_path, tmp_path)).matching(pattern)
        assert [name or "." for name in result] == expected, pattern


def test_a_link_to_itself_and_a_pipe_are_no_files(folder):
    os.mkfifo(folder.path / "images" / "pipe.png")
    swap(folder.path / "images" / "b.png", "b.png")
    result = folder.read(CARD, skip=True)
    assert result.images == ["images/a.png"] and "b.png does not exist" in result.bad[0].reason
    with pytest.raises(DataError, match="no regular file"):
        read_grey(folder.path / "images" / "pipe.png")
    with pytest.raises(DataError, match="no regular file"):
        read_grey(type(folder.path)("/dev/zero"))


def test_packed_tables_unpack_to_a_bounded_size(folder, monkeypatch):
    packed = make_card(
        "label_columns_csv", ["Mass"], file="f.csv.gz", images="images", options={"image_column": "file"}
    )
    rows = b"file,Mass\na.png,1\n" + b"\n" * 3_000_000
    (folder.path / "f.csv.gz").write_bytes(gzip.compress(rows))
    assert folder.read(packed).images == ["images/a.png"]
    monkeypatch.setattr(_files, "ALWAYS_ALLOWED", 2_000_000)
    assert "contains more than 2,000,000 bytes" in read_fault(folder, packed).found
    monkeypatch.setattr(_files, "ALWAYS_ALLOWED", 2**26)
    monkeypatch.setattr(_tables, "MAX_LINES", 2_000_000)
    assert "has more than 2,000,000 lines" in read_fault(folder, packed).found


def test_lines_and_files_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(_files, "MAX_LINE", 600_000)
    folder.write("f.csv", "file,Mass\n" + ("a.png,1" + " " * 300_000 + "\n") * 3)
    with pytest.raises(DataError, match="is repeated"):
        folder.read(CARD)
    folder.write("f.csv", "file,Mass\na.png,1" + " " * 900_000)
    assert "a line of more than 600,000 bytes" in read_fault(folder).found
    monkeypatch.setattr(_files, "MAX_TEXT", 1000)
    (folder.path / "f.json").write_text(json.dumps(["x" * 10] * 100))
    with pytest.raises(DataError, match="contains more than 1,000 bytes"):
        _files.read_json(folder.path / "f.json", "f.json")


@pytest.mark.parametrize("place", [0, 5, 300_000, 2**18 - 1, 2**18 + 1])
def test_the_byte_that_is_not_utf8_is_named_wherever_it_is(tmp_path, place):
    content = ("é" * 400_000).encode()
    broken = content[:place] + b"\xff" + content[place:]
    with pytest.raises(UnicodeDecodeError) as expected:
        broken.decode()
    (tmp_path / "x").write_bytes(broken)
    with pytest.raises(DataError, match=f"byte {expected.value.start} is not UTF-8"):
        _files.read_text(tmp_path / "x", "x")


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 400])
def test_a_number_of_too_many_digits_is_a_fault(folder, number):
    record = {"file_name": "a.png", "syms": ["Mass"], "boxes": [[1, 1, 9, "N"]], "polygons": [[]]}
    folder.write("f.json", json.dumps([record]).replace('"N"', number))
    card = make_card("chestx_det", ["Mass"], "detection", file="f.json", images="images")
    assert "f.json" in read_fault(folder, card).where


def write_card(tmp_path, text):
    (tmp_path / "tiny.yaml").write_text(text)
    return tmp_path / "tiny.yaml"


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(("text", "found"), [
    (LAUGHS, "too many values"), ("a: &a [*a]", "too deeply"), ("a: " + "[" * 60 + "]" * 60, "too deeply"),
    ("a: " + "[" * 5000, "too deeply"), ("a: 2017-99-99", "malformed value"), ("a: !!int x", "malformed value"),
    ("a: !!bool maybe", "malformed value"), ("a: !!timestamp x", "malformed value"), ("? [a, b]\n: c", "unhashable"),
    ("a: " + "9" * 5000, "malformed value"),
    ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ("a: b\n#" + "x" * 2**18, "at most 262,144"), ("a: b\na: c", "is given twice"),
])  # fmt: skip
def test_yaml_that_grows_calls_or_is_none_is_refused(tmp_path, text, found):
    with pytest.raises(CardError, match=found) as refused:
        load_card(write_card(tmp_path, text))
    assert "tiny.yaml" in refused.value.where


def test_aliases_and_merged_keys_are_read(tmp_path):
    text = "a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, x: 2}\n"
    values = strict_yaml.read_yaml(write_card(tmp_path, text))
    assert values["b"] == values["a"] == {"x": 1, "y": [1, 2]} and values["c"] == {"x": 2, "y": [1, 2]}


@pytest.mark.parametrize("template", ["{image:>9999999999}", "{image.__class__}", "{image!r:>99}", "{other}", "{"])
def test_templates_of_cards_name_columns_and_do_nothing_else(folder, template):
    table = {"file": "f.csv", "image_column": "file", "value_column": "Mass", "image_value": template}
    patient = {"tables": [table]}
    with pytest.raises(ValueError, match="Value error"):
        make_card("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"}, patient=patient)
    card = make_card("mask_folder", ["Mass"], "segmentation", options={"folders": {"Mass": "m"}, "mask_name": template})
    assert "options.mask_name" in read_fault(folder, card, CardError).where


@pytest.mark.parametrize("patient", [{"pattern": ""}, {"column": "file", "namespaces": {"other": ""}}])
def test_an_empty_expression_has_no_group_and_is_refused(patient):
    with pytest.raises(ValueError, match="has 0 groups"):
        make_card("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"}, patient=patient)


def test_a_dicom_file_that_is_packed_as_a_whole_is_refused_before_it_unpacks(tmp_path):
    content = dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    (tmp_path / "x.dcm").write_bytes(content[:400] + zlib.compress(bytes(10**7)))
    with pytest.raises(DataError, match="packed as a whole"):
        read_grey(tmp_path / "x.dcm")


def test_messages_can_be_printed_and_are_no_floods():
    error = DataError("x" * 5000, "a name \ud800", "y", "z")
    str(error).encode("utf-8")
    assert "\\ud800" in error.found
    assert len(error.where) < LONGEST + 50 and "(5,000 characters)" in error.where


def test_quarantine_lists_images_once_keeps_their_time_and_is_an_exclusion_list(tmp_path):
    bad = [
        BadSample("tiny", "detection", "images/a.png", "f.csv row 2", "a.png: is torn\n  expected: a whole image"),
        BadSample("tiny", "segmentation", "images/a.png", "f.csv row 2", "again"),
        BadSample("tiny", "detection", "never_read.png", "f.csv row 9", "its row was bad"),
    ]
    path = tmp_path / "quarantine.csv"
    write_quarantine(path, bad, {"tiny": {"images/a.png", 'images/b, "c".png'}})
    first = path.read_text()
    assert first.splitlines()[0] == "dataset,image,reason,when" and len(first.splitlines()) == 2
    later = [*bad, BadSample("tiny", "detection", 'images/b, "c".png', "f.csv row 3", "empty")]
    write_quarantine(path, later, {"tiny": {"images/a.png", 'images/b, "c".png'}})
    assert path.read_text().startswith(first), "a row that stands there keeps its time"
    entries = read_exclusions(path)
    assert [(entry.dataset, entry.image) for entry in entries] == [
        ("tiny", "images/a.png"), ("tiny", 'images/b, "c".png')
    ]  # fmt: skip
    assert entries[0].reason == "a.png: is torn expected: a whole image"
