"""A dataset's folder held against its card: whole folders in every published layout."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from foundationx.apps.cli.main import FAULT, main
from foundationx.curation.check import pixels
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import IssueKind, Severity
from foundationx.datasets.annotations import READERS
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.layouts import LAYOUTS, write_layout
from tests.helpers.layouts.images import write_image


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_complete_folder_in_its_published_layout_has_no_fault(name, tmp_path):
    card = write_layout(name, tmp_path)
    report = check_card(card, tmp_path)
    assert [issue for issue in report.issues if issue.severity is not Severity.NOTE] == []
    assert report.decoded == report.images > 0


def test_every_reader_has_a_layout(tmp_path):
    cards = [write_layout(name, tmp_path) for name in LAYOUTS]
    assert {spec.reader for card in cards for spec in card.tasks.values()} == set(READERS.names())


def check(name: str, tmp_path, card=None, **options):
    return check_card(card or write_layout(name, tmp_path), tmp_path, **options)


def issues(report, kind: IssueKind) -> list[str]:
    return [f"{issue.severity}: {issue.found}" for issue in report.issues if issue.kind is kind]


def test_of_a_partial_download_missing_images_are_one_warning(tmp_path):
    card = write_layout("nih", tmp_path)
    for image in sorted((tmp_path / "nih" / "images_001" / "images").iterdir()):
        image.unlink()  # patients 2, 4 and 6
    whole, partial = check("nih", tmp_path, card), check("nih", tmp_path, card, partial=True)
    assert len(issues(whole, IssueKind.ABSENT)) == 3
    assert "fault: found 3 of 6 images (3 more cannot be used)" in issues(whole, IssueKind.COUNTS)
    assert partial.count(Severity.FAULT) == 0
    assert issues(partial, IssueKind.ABSENT) == [
        "warning: 3 annotated images or masks are missing; the first is 00000002_000.png"
    ]
    assert "warning: found 3 of 6 images (3 more cannot be used)" in issues(partial, IssueKind.COUNTS)


def test_more_than_published_is_a_fault_of_a_partial_download_too(tmp_path):
    card = write_layout("nih", tmp_path)
    expected = card.expected.model_copy(update={"images": 5})
    report = check("nih", tmp_path, card.model_copy(update={"expected": expected}), partial=True)
    assert issues(report, IssueKind.COUNTS) == ["fault: found 6 of 5 images"]


def test_fast_decodes_a_sample_of_each_folder_and_empty_files_are_detected_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SAMPLE", 2)
    card = write_layout("nih", tmp_path)
    folder = tmp_path / "nih" / "images_001" / "images"  # holds patients 2, 4 and 6: the first and last are decoded
    (folder / "00000004_000.png").write_bytes(b"torn")
    assert check("nih", tmp_path, card, fast=True).count(Severity.FAULT) == 0
    (folder / "00000004_000.png").write_bytes(b"")
    (folder / "00000006_000.png").write_bytes(b"torn")
    report = check("nih", tmp_path, card, fast=True)
    assert report.decoded == 4
    assert [text.partition("(")[0].strip() for text in issues(report, IssueKind.IMAGES)] == [
        "fault: the file is empty",
        "fault: is not an image that can be read",
    ]


def test_the_sample_of_a_dataset_with_a_folder_per_image_is_bounded():
    flat, nested = [f"{index}.png" for index in range(5000)], [f"study{index}/a.png" for index in range(5000)]
    assert len(pixels.sample_images(flat)) == pixels.SAMPLE
    chosen = pixels.sample_images(nested)
    assert len(chosen) == pixels.LARGEST_SAMPLE and {nested[0], nested[-1]} <= chosen
    assert pixels.sample_images(flat[:7]) == frozenset(flat[:7])


def test_smoothed_masks_are_a_warning(tmp_path):
    card = write_layout("shenzhen", tmp_path)
    mask = np.zeros((48, 48), np.uint8)
    mask[10:20], mask[20] = 255, 128
    write_image(tmp_path / "shenzhen" / "mask" / "CHNCXR_0001_1_mask.png", mask)
    name = "mask/CHNCXR_0001_1_mask.png"
    assert issues(check("shenzhen", tmp_path, card), IssueKind.TARGETS) == [
        f"warning: {name} holds 1 values that the card does not name, e.g. 128"
    ]


def test_labels_are_counted_by_class(tmp_path):
    report = check("chexpert", tmp_path)
    assert report.labels["classification"]["Edema"] == {"present": 2, "absent": 2, "unknown": 1}
    assert report.labels["classification"]["No Finding"] == {"present": 2, "absent": 3, "unknown": 0}


def test_a_class_without_negatives_cannot_be_scored(tmp_path):
    card = write_layout("kermany", tmp_path)
    for split in ("train", "test"):
        for image in (tmp_path / "kermany" / "chest_xray" / split / "NORMAL").iterdir():
            image.unlink()
    assert issues(check("kermany", tmp_path, card), IssueKind.CLASSES) == [
        "warning: Pneumonia has no known negative: it cannot be scored"
    ]


def test_duplicates_of_one_patient_are_reported_as_such(tmp_path):
    card = write_layout("nih", tmp_path)
    folder = tmp_path / "nih"
    other = "images_002/images/00000001_001.png"
    (folder / other).write_bytes((folder / "images_002/images/00000001_000.png").read_bytes())
    with open(folder / "Data_Entry_2017_v2020.csv", "a") as stream:
        stream.write("00000001_001.png,No Finding,1\n")
    assert issues(check("nih", tmp_path, card), IssueKind.DUPLICATES) == [
        "warning: holds the same bytes as images_002/images/00000001_000.png, of the same patient"
    ]


def test_results_are_in_order_and_few_are_in_flight(tmp_path):
    in_flight, most, lock = 0, 0, threading.Lock()

    class Slow:
        images = tuple(f"{index}.png" for index in range(60))

        def check(self, image):
            nonlocal in_flight, most
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            return pixels.ImageResult(image)

    def watched(results, count):
        nonlocal in_flight
        assert count == 60
        for result in results:
            with lock:
                in_flight -= 1
            yield result

    results = list(pixels.check_images(Slow(), 3, False, watched))
    assert [result.image for result in results] == list(Slow.images)
    assert most <= 3 * pixels.AHEAD


def test_a_missing_folder_names_the_download_page(tmp_path, capsys):
    assert main(["data", "check", "nih_chestxray14", "--data-root", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "there is no such folder" in shown and "https://nihcc.app.box.com" in shown


@pytest.mark.parametrize(
    ("card", "there", "told"),
    [
        ("nih_chestxray14", ["NIH", "other", ".cache"], "or name its folder with --root (there are NIH, other)"),
        ("nih_chestxray14", list("abcdefg"), "(there are a, b, c, d, e and 2 more)"),
        ("phantom_boxes", ["NIH"], "write it with `foundationx data phantoms FOLDER`"),
        ("phantom_boxes", None, "does not exist: name it with --data-root"),
    ],
)
def test_a_missing_folder_is_told_with_what_is_there(tmp_path, capsys, card, there, told):
    root = tmp_path / "data"
    for name in there or []:
        (root / name).mkdir(parents=True)
    assert main(["data", "check", card, "--data-root", str(root)]) == 1
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_missing_file_of_a_published_set_names_where_it_is_from(tmp_path, capsys):
    (tmp_path / "nih_chestxray14" / "images").mkdir(parents=True)
    assert main(["data", "check", "nih_chestxray14", "--data-root", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "fix: download NIH ChestX-ray14 from https://nihcc.app.box.com/v/ChestXray-NIHCC, or check root" in shown


def test_faults_alike_are_one_line_and_all_are_in_the_report(tmp_path, capsys):
    write_phantom_datasets(tmp_path, {"phantom_labels": 12}, size=48, processes=1)
    images = sorted((tmp_path / "phantom_labels" / "images").iterdir())
    for image in images[:8]:
        image.write_bytes(b"")
    target = tmp_path / "report.json"
    assert main(["data", "check", "all", "--data-root", str(tmp_path), "--report", str(target)]) == 1
    shown = capsys.readouterr().out
    assert "1 datasets are in" in shown and "faults, images: 8" in shown and "[and 7 more alike: " in shown
    assert shown.count("the file is empty") == 1
    assert all(f"images/{image.name}" in shown for image in images[:4])
    (report,) = json.loads(target.read_text())
    assert report["dataset"] == "phantom_labels" and report["images"] == 12 and report["decoded"] == 4
    assert report["counts"]["fault"] == {"images": 8}
    empty = [issue for issue in report["issues"] if issue["kind"] == "images"]
    assert [issue["file"] for issue in empty] == [f"images/{image.name}" for image in images[:8]]
    assert all(issue["fix"] == "download it again" and issue["severity"] == "fault" for issue in empty)


def test_all_of_nothing_is_a_fault_of_the_call(tmp_path, capsys):
    assert main(["data", "check", "all", "--data-root", str(tmp_path)]) == FAULT
    assert main(["data", "check", "all", "--root", "x", "--data-root", str(tmp_path)]) == FAULT
    assert "holds no dataset" in capsys.readouterr().err
