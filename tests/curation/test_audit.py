"""The audit: pairs of patients and images, its store, its tables, and a run that obeys its list."""

import csv
import json
import os
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import DataError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.curation.audit.audit import Audit, audit, exclusions, items_of, unseen
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint, fingerprint_all
from foundationx.curation.audit.pairs import Item, Kind, Pair, image_pairs, patient_pairs
from foundationx.curation.audit.report import SIDES, counts, picture_sheet, write_audit
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.exclusion import read_exclusions
from foundationx.phantoms.phantom import make_phantom
from foundationx.phantoms.write import write_phantom_datasets

TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


def item(name, split=TRAIN, patient=None, dataset="a", folder=Path()):
    return Item(dataset, name, patient or name, split, folder / name)


def named(pairs):
    return {(pair.kind, *sorted((pair.first.image, pair.second.image))) for pair in pairs}


def test_patients_pair_every_two_places_once():
    items = [
        item("1", TRAIN, "p", "a"),
        item("2", TRAIN, "p", "a"),
        item("3", TEST, "p", "b"),
        item("4", TRAIN, "p", "c"),
        item("5", VAL, "q", "a"),
        item("6", VAL, "q", "a"),
    ]
    pairs = patient_pairs(items)
    assert named(pairs) == {(Kind.PATIENT, "1", "3"), (Kind.PATIENT, "1", "4"), (Kind.PATIENT, "3", "4")}
    assert [pair.crosses for pair in pairs] == [True, False, True]


@pytest.fixture(scope="module")
def film():
    return make_phantom(8_000, size=128).image


def test_kinds_of_equal_images(tmp_path, film):
    cv2.imwrite(str(tmp_path / "a.png"), film)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    cv2.imwrite(str(tmp_path / "c.bmp"), film)
    cv2.imwrite(str(tmp_path / "d.jpg"), film, [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(tmp_path / "e.png"), make_phantom(8_001, size=128).image)
    items = [item(name, folder=tmp_path, dataset=name) for name in ("a.png", "b.png", "c.bmp", "d.jpg", "e.png")]
    pairs = image_pairs(items, [fingerprint(entry.path) for entry in items])
    assert named(pairs) == {
        (Kind.EXACT, "a.png", "b.png"),
        (Kind.PIXELS, "a.png", "c.bmp"),
        (Kind.PIXELS, "b.png", "c.bmp"),
        (Kind.PERCEPTUAL, "a.png", "d.jpg"),
        (Kind.PERCEPTUAL, "b.png", "d.jpg"),
        (Kind.PERCEPTUAL, "c.bmp", "d.jpg"),
    }
    assert [pair.kind for pair in pairs] == sorted((pair.kind for pair in pairs), key=list(Kind).index)


def test_even_images_are_equal_only_by_their_hashes(tmp_path):
    for name, value in (("a.png", 10), ("b.png", 11), ("c.png", 10)):
        cv2.imwrite(str(tmp_path / name), np.full((40, 40), value, np.uint8))
    items = [item(name, folder=tmp_path) for name in ("a.png", "b.png", "c.png")]
    assert named(image_pairs(items, [fingerprint(entry.path) for entry in items])) == {(Kind.EXACT, "a.png", "c.png")}


def test_many_equal_images_give_few_pairs_and_each_meets_its_worst_company(tmp_path, film):
    cv2.imwrite(str(tmp_path / "one.png"), film)
    value = fingerprint(tmp_path / "one.png")
    items = [item(f"{number}", TRAIN) for number in range(200)] + [item("t", TEST, dataset="b")]
    pairs = image_pairs(items, [value] * len(items))
    met = {pair.first.image for pair in pairs if pair.second.image == "t"}
    assert met == {f"{number}" for number in range(200)}
    assert len(pairs) == 199 + 200  # each with the first of its own place, and with the test image


def test_what_cannot_be_read_is_listed_and_left_out(tmp_path, film):
    cv2.imwrite(str(tmp_path / "a.png"), film)
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    paths = [tmp_path / "a.png", tmp_path / "torn.png", tmp_path / "gone.png"]
    store = FingerprintStore(tmp_path / "store")
    found, faults = fingerprint_all(paths, store)
    store.close()
    assert found[0] is not None and found[1:] == [None, None]
    assert set(faults) == set(paths[1:]) and "torn" in faults[paths[1]] and "cannot be opened" in faults[paths[2]]
    assert image_pairs([item(path.name) for path in paths], found) == []


def test_a_stored_fingerprint_is_used_until_the_file_changes(tmp_path, film):
    path = tmp_path / "a.bmp"
    cv2.imwrite(str(path), film)
    store = FingerprintStore(tmp_path / "store")
    (first,), _ = fingerprint_all([path], store)
    store.close()
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    store = FingerprintStore(tmp_path / "store")
    (again,), faults = fingerprint_all([path], store)
    assert not faults and (again.content, again.pixels) == (first.content, first.pixels)
    np.testing.assert_array_equal(again.thumbnail, first.thumbnail)
    cv2.imwrite(str(path), film[::-1])
    os.utime(path, ns=(0, 1))
    (other,), _ = fingerprint_all([path], store)
    store.close()
    assert other.pixels != first.pixels


def test_an_interrupted_audit_goes_on_where_it_was(tmp_path, film):
    paths = []
    for number in range(130):
        paths.append(tmp_path / f"{number:03}.bmp")
        cv2.imwrite(str(paths[-1]), film[: 32 + number % 7, : 32 + number // 7])

    def stop(count):
        if count:
            raise KeyboardInterrupt

    store = FingerprintStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        fingerprint_all(paths, store, stop)
    store.close()
    told = []
    store = FingerprintStore(tmp_path / "store")
    found, _ = fingerprint_all(paths, store, told.append)
    store.close()
    assert told[0] >= 64 and sum(told) == 130 and None not in found


@pytest.mark.parametrize("spoil", ["version", "other file"])
def test_a_store_that_does_not_fit_is_made_anew(tmp_path, film, spoil):
    cv2.imwrite(str(tmp_path / "a.png"), film)
    store = FingerprintStore(tmp_path / "store")
    fingerprint_all([tmp_path / "a.png"], store)
    store.close()
    if spoil == "version":
        base = sqlite3.connect(tmp_path / "store")
        base.execute("PRAGMA user_version = 999")
        base.close()
    else:
        (tmp_path / "store").write_text("no database " * 100)
    store = FingerprintStore(tmp_path / "store")
    assert store.get(tmp_path / "a.png") is None
    assert fingerprint_all([tmp_path / "a.png"], store)[0][0] is not None
    store.close()


def test_exclusions_name_training_images_only():
    one, two, three = item("1", TRAIN, "p"), item("2", TRAIN, "p"), item("3", TEST, "q", "b")
    four = item("4", VAL, "p", "b")
    pairs = [Pair(Kind.PERCEPTUAL, three, one, 0.91234), Pair(Kind.EXACT, one, two), Pair(Kind.PATIENT, two, four)]
    rows = exclusions(Audit([one, two, three, four], pairs))
    assert [(row.image, row.reason, row.of_dataset, row.of_image, row.of_split) for row in rows] == [
        ("1", "perceptual 0.912", "b", "3", "test"),
        ("1", "patient", "b", "4", "val"),
        ("2", "patient", "b", "4", "val"),
    ]


def test_counts_by_kind_datasets_and_sides():
    a, b, c = item("1", TRAIN), item("2", TEST, dataset="b"), item("3", TRAIN, dataset="b")
    rows = counts([Pair(Kind.PATIENT, b, a), Pair(Kind.PATIENT, a, c), Pair(Kind.EXACT, b, c)])
    assert rows == [
        {"kind": "exact", "datasets": "b", "pairs": 1, "sides": {"train - test": 1}},
        {"kind": "patient", "datasets": "a - b", "pairs": 2, "sides": {"train - test": 1, "train - train": 1}},
    ]
    assert {side for row in rows for side in row["sides"]} <= set(SIDES) and len(SIDES) == 6


def test_a_sheet_shows_each_pair_and_none_without_pairs(tmp_path, film):
    cv2.imwrite(str(tmp_path / "a.png"), film)
    pair = Pair(Kind.EXACT, item("a.png", folder=tmp_path), item("a.png", TEST, folder=tmp_path))
    assert picture_sheet([]) is None and picture_sheet([Pair(Kind.PATIENT, pair.first, pair.second)]) is None
    one, five = picture_sheet([pair]), picture_sheet([pair] * 5)
    assert five.shape == (3 * one.shape[0], one.shape[1])
    assert (one[:, : one.shape[1] // 2] < 255).mean() > 0.7  # two pictures fill most of the first tile


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """Two phantom datasets; a held-out film of the first is, as JPEG, also a training film of the second."""
    tmp_path = tmp_path_factory.mktemp("leaking")
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 12, "phantom_boxes": 12}, size=128, processes=1)
    values = load_config(TINY).model_dump() | {"datasets": [{"card": "phantom_labels"}, {"card": "phantom_boxes"}]}
    config = RunConfig.model_validate(values)
    data_module = open_datasets(config, tmp_path / "data")
    labels, boxes = (TaskKey("phantom_labels", Task.CLASSIFICATION), TaskKey("phantom_boxes", Task.DETECTION))
    held = data_module.annotations[labels].images[data_module.indices[labels][TEST][0]]
    trained = data_module.annotations[boxes].images[data_module.indices[boxes][TRAIN][0]]
    image = cv2.imread(str(tmp_path / "data" / "phantom_labels" / held), cv2.IMREAD_GRAYSCALE)
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    (tmp_path / "data" / "phantom_boxes" / trained).write_bytes(packed.tobytes())
    return tmp_path, config, held, trained


def test_a_leak_is_found_listed_and_no_more_trained_on(leaking, capsys):
    folder, config, held, trained = leaking
    command = ["data", "audit", "phantom_labels", "phantom_boxes", "--data-root", str(folder / "data")]
    assert main([*command, "--out", str(folder / "out")]) == 1
    shown = capsys.readouterr().out
    assert "perceptual" in shown and "1 training images to leave out" in shown
    (entry,) = read_exclusions(folder / "out" / "exclude.csv")
    assert (entry.dataset, entry.image, entry.of_image, entry.of_split) == ("phantom_boxes", trained, held, "test")
    summary = json.loads((folder / "out" / "audit.json").read_text())
    assert summary["images"] == 24 and summary["left_out"] == 1 and summary["unreadable"] == {}
    with open(folder / "out" / "audit.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "perceptual"]
    crossing = [row for row in rows if {row["split_a"], row["split_b"]} == {"train", "test"}]
    assert {crossing[0]["image_a"], crossing[0]["image_b"]} == {held, trained} and float(crossing[0]["score"]) > 0.95
    assert cv2.imread(str(folder / "out" / "pairs.png")) is not None

    clean = config.model_copy(update={"exclude": folder / "out" / "exclude.csv"})
    before, after = (open_datasets(each, folder / "data") for each in (config, clean))
    key = TaskKey("phantom_boxes", Task.DETECTION)
    left = set(before.indices[key][TRAIN]) - set(after.indices[key][TRAIN])
    assert [before.annotations[key].images[index] for index in left] == [trained]
    again = audit(after, folder / "out" / "fingerprints.sqlite", {})
    assert exclusions(again) == []
    assert len(again.items) == 23


def test_a_configuration_is_audited_whole_whatever_it_leaves_out(leaking, capsys):
    folder, *_ = leaking
    config = folder / "limited.py"
    config.write_text(
        f"_base_ = [{str(TINY)!r}]\n"
        "datasets = [dict(card='phantom_labels', limit=1), dict(card='phantom_boxes', limit=1)]\n"
        "exclude = 'there_is_no_such_list.csv'\n"
    )
    assert main(["data", "audit", str(config), "--data-root", str(folder / "data"), "--out", str(folder / "out")]) == 1
    assert "pairs among 24 images" in capsys.readouterr().out


def test_an_image_of_several_tasks_is_one_item_on_its_strictest_side(leaking):
    folder, config, *_ = leaking
    data_module = open_datasets(config, folder / "data")
    key = TaskKey("phantom_boxes", Task.DETECTION)
    other = TaskKey("phantom_boxes", Task.SEGMENTATION)
    data_module.annotations[other] = data_module.annotations[key]
    everything = np.arange(len(data_module.annotations[key]))
    data_module.indices[other] = {TRAIN: everything, VAL: everything[:0], TEST: everything[:0]}
    sides = {entry.image: entry.split for entry in items_of(data_module) if entry.dataset == "phantom_boxes"}
    held = {data_module.annotations[key].images[index] for index in data_module.indices[key][TEST]}
    assert len(sides) == 12 and all(sides[image] is TEST for image in held)


def test_related_datasets_that_share_no_patient_are_noted():
    items = [
        item("1", patient="p", dataset="a"),
        item("2", patient="q", dataset="b"),
        item("3", patient="p", dataset="c"),
    ]
    parent_and_child = unseen(items, {"b": "a"})
    assert len(parent_and_child) == 1 and "a and b" in parent_and_child[0]
    assert unseen(items, {"c": "a"}) == unseen(items, {}) == []
    (siblings,) = unseen(items, {"b": "x", "c": "x"})
    assert "b and c re-use the images of one dataset" in siblings


def test_fingerprint_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        fingerprint(tmp_path / "gone.png")


def test_an_audit_without_pairs_writes_empty_tables(tmp_path):
    written = write_audit(Audit([item("1")], []), tmp_path)
    assert [path.name for path in written] == ["audit.csv", "exclude.csv", "audit.json"]
    assert read_exclusions(tmp_path / "exclude.csv") == []
