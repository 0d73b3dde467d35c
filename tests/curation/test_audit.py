"""The audit: pairs of patients and images, its store, its tables, and a run that applies its list."""

import csv
import json
import os
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.apps.cli.main import FAULT, main
from foundationx.apps.run.data_notes import data_notes, with_applied_audit
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import DataError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.curation.audit.audit import Audit, audit, exclusions, items_of, leaks, unrelated_names
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint, fingerprint_all
from foundationx.curation.audit.pairs import Item, Match, Pair, image_pairs, patient_pairs
from foundationx.curation.audit.report import SPLIT_PAIRS, counts, picture_sheet, write_audit
from foundationx.curation.issues import Severity
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.exclusion import audited_datasets, read_exclusions
from foundationx.datasets.relations import unmatched_groups
from foundationx.phantoms.phantom import make_phantom
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.reader_cards import make_card

TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
CARDS = default_folders()[0]
TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


def item(name, split=TRAIN, patient=None, dataset="a", folder=Path()):
    return Item(dataset, name, patient or name, split, folder / name)


def named(pairs):
    return {(pair.match, *sorted((pair.first.image, pair.second.image))) for pair in pairs}


def test_patients_pair_every_two_splits_once():
    items = [
        item("1", TRAIN, "p", "a"),
        item("2", TRAIN, "p", "a"),
        item("3", TEST, "p", "b"),
        item("4", TRAIN, "p", "c"),
        item("5", VAL, "q", "a"),
        item("6", VAL, "q", "a"),
    ]
    pairs = patient_pairs(items)
    assert named(pairs) == {(Match.PATIENT, "1", "3"), (Match.PATIENT, "1", "4"), (Match.PATIENT, "3", "4")}
    assert [pair.crosses for pair in pairs] == [True, False, True]


@pytest.fixture(scope="module")
def radiograph():
    return make_phantom(8_000, size=128).image


def test_kinds_of_equal_images(tmp_path, radiograph):
    cv2.imwrite(str(tmp_path / "a.png"), radiograph)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    cv2.imwrite(str(tmp_path / "c.bmp"), radiograph)
    cv2.imwrite(str(tmp_path / "d.jpg"), radiograph, [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(tmp_path / "e.png"), make_phantom(8_001, size=128).image)
    items = [item(name, folder=tmp_path, dataset=name) for name in ("a.png", "b.png", "c.bmp", "d.jpg", "e.png")]
    pairs = image_pairs(items, [fingerprint(entry.path) for entry in items])
    assert named(pairs) == {
        (Match.EXACT, "a.png", "b.png"),
        (Match.PIXELS, "a.png", "c.bmp"),
        (Match.PIXELS, "b.png", "c.bmp"),
        (Match.PERCEPTUAL, "a.png", "d.jpg"),
        (Match.PERCEPTUAL, "b.png", "d.jpg"),
        (Match.PERCEPTUAL, "c.bmp", "d.jpg"),
    }
    assert [pair.match for pair in pairs] == sorted((pair.match for pair in pairs), key=list(Match).index)


def test_even_images_are_equal_only_by_their_hashes(tmp_path):
    for name, value in (("a.png", 10), ("b.png", 11), ("c.png", 10)):
        cv2.imwrite(str(tmp_path / name), np.full((40, 40), value, np.uint8))
    items = [item(name, folder=tmp_path) for name in ("a.png", "b.png", "c.png")]
    assert named(image_pairs(items, [fingerprint(entry.path) for entry in items])) == {(Match.EXACT, "a.png", "c.png")}


def test_many_equal_images_give_few_pairs_and_each_is_paired_with_its_leak(tmp_path, radiograph):
    cv2.imwrite(str(tmp_path / "one.png"), radiograph)
    value = fingerprint(tmp_path / "one.png")
    items = [item(f"{number}", TRAIN) for number in range(200)] + [item("t", TEST, dataset="b")]
    pairs = image_pairs(items, [value] * len(items))
    met = {pair.first.image for pair in pairs if pair.second.image == "t"}
    assert met == {f"{number}" for number in range(200)}
    assert len(pairs) == 199 + 200  # each with the first of its own place, and with the test image


def test_what_cannot_be_read_is_listed_and_left_out(tmp_path, radiograph):
    cv2.imwrite(str(tmp_path / "a.png"), radiograph)
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    paths = [tmp_path / "a.png", tmp_path / "torn.png", tmp_path / "gone.png"]
    store = FingerprintStore(tmp_path / "store")
    prints, errors = fingerprint_all(paths, store)
    store.close()
    assert prints[0] is not None and prints[1:] == [None, None]
    assert set(errors) == set(paths[1:])
    assert "truncated" in errors[paths[1]].found and "cannot be opened" in errors[paths[2]].found
    assert image_pairs([item(path.name) for path in paths], prints) == []


def test_a_stored_fingerprint_is_used_until_the_file_changes(tmp_path, radiograph):
    path = tmp_path / "a.bmp"
    cv2.imwrite(str(path), radiograph)
    store = FingerprintStore(tmp_path / "store")
    (first,), _ = fingerprint_all([path], store)
    store.close()
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    store = FingerprintStore(tmp_path / "store")
    (again,), errors = fingerprint_all([path], store)
    assert not errors and (again.content, again.pixels) == (first.content, first.pixels)
    np.testing.assert_array_equal(again.thumbnail, first.thumbnail)
    cv2.imwrite(str(path), radiograph[::-1])
    os.utime(path, ns=(0, 1))
    (other,), _ = fingerprint_all([path], store)
    store.close()
    assert other.pixels != first.pixels


def test_an_interrupted_audit_continues_where_it_stopped(tmp_path, radiograph):
    paths = []
    for number in range(130):
        paths.append(tmp_path / f"{number:03}.bmp")
        cv2.imwrite(str(paths[-1]), radiograph[: 32 + number % 7, : 32 + number // 7])

    def stop(count):
        if count:
            raise KeyboardInterrupt

    store = FingerprintStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        fingerprint_all(paths, store, stop)
    store.close()
    advances = []
    store = FingerprintStore(tmp_path / "store")
    prints, _ = fingerprint_all(paths, store, advances.append)
    store.close()
    assert advances[0] >= 64 and sum(advances) == 130 and None not in prints


@pytest.mark.parametrize("spoil", ["version", "other file"])
def test_a_store_that_does_not_fit_is_made_anew(tmp_path, radiograph, spoil):
    cv2.imwrite(str(tmp_path / "a.png"), radiograph)
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
    pairs = [Pair(Match.PERCEPTUAL, three, one, 0.91234), Pair(Match.EXACT, one, two), Pair(Match.PATIENT, two, four)]
    rows = exclusions([one, two, three, four], pairs)
    assert [(row.image, row.reason, row.of_dataset, row.of_image, row.of_split) for row in rows] == [
        ("1", "perceptual 0.912", "b", "3", "test"),
        ("1", "patient", "b", "4", "val"),
        ("2", "patient", "b", "4", "val"),
    ]
    (leak,) = leaks([one, two, three, four], pairs)
    assert (leak.severity, leak.where) == (Severity.FAULT, "a") and leak.found.startswith("2 training images")
    assert "exclude" in leak.fix


def test_counts_by_match_datasets_and_splits():
    a, b, c = item("1", TRAIN), item("2", TEST, dataset="b"), item("3", TRAIN, dataset="b")
    rows = counts([Pair(Match.PATIENT, b, a), Pair(Match.PATIENT, a, c), Pair(Match.EXACT, b, c)])
    assert rows == [
        {"match": "exact", "datasets": "b", "pairs": 1, "splits": {"train - test": 1}},
        {"match": "patient", "datasets": "a - b", "pairs": 2, "splits": {"train - test": 1, "train - train": 1}},
    ]
    assert {splits for row in rows for splits in row["splits"]} <= set(SPLIT_PAIRS) and len(SPLIT_PAIRS) == 6


def test_a_sheet_shows_each_pair_and_none_without_pairs(tmp_path, radiograph):
    cv2.imwrite(str(tmp_path / "a.png"), radiograph)
    pair = Pair(Match.EXACT, item("a.png", folder=tmp_path), item("a.png", TEST, folder=tmp_path))
    assert picture_sheet([]) is None and picture_sheet([Pair(Match.PATIENT, pair.first, pair.second)]) is None
    one, five = picture_sheet([pair]), picture_sheet([pair] * 5)
    assert five.shape == (3 * one.shape[0], one.shape[1])
    assert (one[:, : one.shape[1] // 2] < 255).mean() > 0.7  # two pictures fill most of the first tile


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """Two phantom datasets; a held-out image of the first is, as JPEG, also a training image of the second."""
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


def audited(folder):
    """A configuration of both datasets."""
    path = folder / "both.py"
    path.write_text(f"_base_ = [{str(TINY)!r}]\ndatasets = [dict(card='phantom_labels'), dict(card='phantom_boxes')]\n")
    return path


def test_a_leak_is_detected_listed_and_no_more_trained_on(leaking, capsys):
    folder, config, held, trained = leaking
    command = ["data", "audit", str(audited(folder)), "--data-root", str(folder / "data")]
    assert main([*command, "--out", str(folder / "out")]) == 1
    shown = capsys.readouterr().out
    assert "perceptual" in shown and "1 training images to leave out" in shown
    (entry,) = read_exclusions(folder / "out" / "exclude.csv")
    assert (entry.dataset, entry.image, entry.of_image, entry.of_split) == ("phantom_boxes", trained, held, "test")
    summary = json.loads((folder / "out" / "audit.json").read_text())
    assert summary["images"] == 24 and summary["excluded"] == 1
    assert summary["counts"] == {"fault": {"training images that are held out elsewhere": 1}}
    assert [issue["where"] for issue in summary["issues"]] == ["phantom_boxes"]
    with open(folder / "out" / "audit.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["match"] == "perceptual"]
    crossing = [row for row in rows if {row["split_a"], row["split_b"]} == {"train", "test"}]
    assert {crossing[0]["image_a"], crossing[0]["image_b"]} == {held, trained} and float(crossing[0]["score"]) > 0.95
    assert cv2.imread(str(folder / "out" / "pairs.png")) is not None

    clean = config.model_copy(update={"exclude": folder / "out" / "exclude.csv"})
    before, after = (open_datasets(each, folder / "data") for each in (config, clean))
    key = TaskKey("phantom_boxes", Task.DETECTION)
    left = set(before.indices[key][TRAIN]) - set(after.indices[key][TRAIN])
    assert [before.annotations[key].images[index] for index in left] == [trained]
    again = audit(
        after, folder / "out" / "fingerprints.sqlite", [Catalog().card(key.dataset) for key in after.annotations]
    )
    assert exclusions(again.items, again.pairs) == [] and again.issues == []
    assert len(again.items) == 23


@pytest.mark.slow
def test_an_audit_in_shards_is_the_whole_audit_and_reads_no_image_again(leaking, tmp_path, monkeypatch, capsys):
    folder, *_ = leaking
    command = ["data", "audit", str(audited(folder)), "--data-root", str(folder / "data"), "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 1
    capsys.readouterr()
    for shard in ("2/3", "1/3", "3/3", "2/3"):
        assert main([*command, str(tmp_path / "out"), "--shard", shard]) == 0
    numbers = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines() if "fingerprints:" in line]
    assert sum(numbers[:3]) == 24 and numbers[3] == numbers[0]
    monkeypatch.setattr("foundationx.curation.audit.fingerprint.fingerprint", None)  # would fail if called
    assert main([*command, str(tmp_path / "out")]) == 1
    for name in ("audit.csv", "exclude.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert main([*command, str(tmp_path / "out"), "--shard", "4/3"]) == FAULT


def test_a_shard_replaces_no_newer_fingerprint(tmp_path, radiograph):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), radiograph)
    old = FingerprintStore(tmp_path / "old.sqlite")
    fingerprint_all([path], old)
    cv2.imwrite(str(path), 255 - radiograph)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))
    store = FingerprintStore(tmp_path / "store.sqlite")
    fingerprint_all([path], store)
    newer = store.get(path)
    for shard in (tmp_path / "old.sqlite", tmp_path / "missing.sqlite", path):
        store.join(shard)
        assert newer is not None and store.get(path).content == newer.content


def test_a_configuration_is_audited_completely_whatever_it_leaves_out(leaking, capsys):
    folder, *_ = leaking
    config = folder / "limited.py"
    config.write_text(
        f"_base_ = [{str(TINY)!r}]\n"
        "datasets = [dict(card='phantom_labels', limit=1), dict(card='phantom_boxes', limit=1)]\n"
        "exclude = 'there_is_no_such_list.csv'\n"
    )
    assert main(["data", "audit", str(config), "--data-root", str(folder / "data"), "--out", str(folder / "out")]) == 1
    assert "pairs among 24 images" in capsys.readouterr().out


def test_an_image_of_several_tasks_is_one_item_on_its_strictest_split(leaking):
    folder, config, *_ = leaking
    data_module = open_datasets(config, folder / "data")
    key = TaskKey("phantom_boxes", Task.DETECTION)
    other = TaskKey("phantom_boxes", Task.SEGMENTATION)
    data_module.annotations[other] = data_module.annotations[key]
    everything = np.arange(len(data_module.annotations[key]))
    data_module.indices[other] = {TRAIN: everything, VAL: everything[:0], TEST: everything[:0]}
    splits = {entry.image: entry.split for entry in items_of(data_module) if entry.dataset == "phantom_boxes"}
    held = {data_module.annotations[key].images[index] for index in data_module.indices[key][TEST]}
    assert len(splits) == 12 and all(splits[image] is TEST for image in held)


def test_related_datasets_that_share_no_patient_are_noted():
    items = [
        item("1", patient="p", dataset="a"),
        item("2", patient="q", dataset="b"),
        item("3", patient="p", dataset="c"),
    ]
    (parent_and_child,) = unrelated_names(items, related(b="a"))
    assert "a, b share images" in parent_and_child.found and parent_and_child.severity is Severity.NOTE
    assert list(unrelated_names(items, related(c="a"))) == list(unrelated_names(items, related())) == []
    (siblings,) = unrelated_names(items, related(b="x", c="x"))
    assert "b, c share images" in siblings.found
    (all_three,) = unrelated_names([*items[:2], item("3", patient="r", dataset="c")], related(a="x", b="x", c="x"))
    assert "a, b, c share images" in all_three.found


def related(**parents):
    """Cards a, b and c with these parents; their patients have namespaces of their own."""
    card = make_card("class_folders", ["a"])
    return [card.model_copy(update={"name": name, "parent": parents.get(name)}) for name in "abc"]


def test_datasets_that_may_name_patients_alike_share_images_and_an_audit_of_both_settles_it():
    card = make_card("class_folders", ["a"], patient={"column": "p", "namespace": "a", "namespaces": {"nih": "n(.+)"}})
    other = make_card("class_folders", ["a"], patient={"column": "p", "namespace": "nih"})
    cards = [card.model_copy(update={"name": "a"}), other.model_copy(update={"name": "b"})]
    assert unmatched_groups(cards) == []  # their names match, as far as the cards say
    assert unmatched_groups(cards, {"a": {"nih:1"}, "b": {"nih:1", "nih:2"}}) == []
    nobody = {"a": {"a:1"}, "b": {"nih:2"}}
    assert unmatched_groups(cards, nobody) == [("a", "b")]
    assert unmatched_groups(cards, nobody, audited=["b"]) == [("a", "b")]
    assert unmatched_groups(cards, nobody, audited=["a", "b", "c"]) == []


def test_an_applied_audit_is_used_by_every_run_without_a_list_and_stays_with_one_that_has_begun(leaking, tmp_path):
    folder, config, _, trained = leaking
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    assert with_applied_audit(config, data).exclude is None
    assert main(["data", "audit", str(audited(folder)), "--data-root", str(data), "--apply"]) == 0
    assert audited_datasets(data / "audit/exclude.csv") == ("phantom_boxes", "phantom_labels")
    applied = with_applied_audit(config, data)
    data_module = open_datasets(applied, data)
    assert data_module.excluded["phantom_boxes"] == {trained}
    (note,) = data_notes(data_module, Catalog())
    assert note == f"1 training images are left out by {data / 'audit/exclude.csv'}"
    own = config.model_copy(update={"exclude": tmp_path / "own.csv"})
    assert with_applied_audit(own, data) == own
    assert main(["data", "audit", str(audited(folder)), "--data-root", str(data), "--apply", "--out", "x"]) == FAULT


def test_a_run_says_which_of_its_datasets_share_images_and_were_not_audited(leaking, tmp_path):
    folder, config, *_ = leaking
    for name in ("phantom_labels", "phantom_boxes"):
        text = (CARDS / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text.replace("\nroot:", "\nparent: phantom_labels\nroot:", 1))
    catalog = Catalog([tmp_path])
    (note,) = data_notes(open_datasets(config, folder / "data", catalog), catalog)
    assert note.startswith("phantom_boxes, phantom_labels show the same images") and "--apply" in note


def test_fingerprint_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        fingerprint(tmp_path / "gone.png")


def test_an_audit_without_pairs_writes_empty_tables(tmp_path):
    written = write_audit(Audit([item("1")], []), tmp_path)
    assert [path.name for path in written] == ["audit.csv", "exclude.csv", "audit.json"]
    assert read_exclusions(tmp_path / "exclude.csv") == []
