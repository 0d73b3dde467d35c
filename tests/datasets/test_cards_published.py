"""The cards of public datasets: whole, honest about what nobody has checked, and read as they are published."""

from __future__ import annotations

import csv
import gzip
import math
import random
import re
import runpy
from pathlib import Path

import pytest
from pydantic import ValidationError

from foundationx.core.types import Split, Task
from foundationx.datasets.annotations import open_reader, read_annotations
from foundationx.datasets.cards.catalog import Catalog, default_folders
from tests.helpers.reader_cards import Folder, fault, make_card

ROOT = Path(__file__).resolve().parents[2]
CATALOG = Catalog(default_folders()[:1])
PUBLIC = tuple(name for name in CATALOG.names() if CATALOG.card(name).access != "generated")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_only_rows_that_the_card_keeps_count(folder):
    folder.files("a.png", "b.png", "d.png")
    folder.write(
        "labels.csv", "file,found,modality,view\na.png,A,X-ray,PA\nb.png,A,X-ray,L\nc.nii,A,CT,PA\nd.png,A,,PA\n"
    )
    options = {"image_column": "file", "findings_column": "found"}
    keep = {"modality": ["X-ray", ""], "view": ["PA"]}
    card = make_card("findings_csv", ["A"], file="labels.csv", options=options, keep=keep)
    result = folder.read(card)
    assert (result.images, result.rows) == (["a.png", "d.png"], ["labels.csv row 2", "labels.csv row 5"])
    card = make_card("findings_csv", ["A"], file="labels.csv", options=options, keep={"views": ["PA"]})
    assert "no column 'views'" in fault(folder, card).found


def test_rows_that_the_card_leaves_out_do_not_count(folder):
    folder.files("a-CHEST.png", "b-ABD.png")
    folder.write("labels.csv", "file,found\na-CHEST.png,A\nb-ABD.png,A\nnot-there-ABD.png,A\n")
    options = {"image_column": "file", "findings_column": "found"}
    values = {"file": "labels.csv", "options": options, "leave_out": {"file": ".*ABD.*"}}
    assert folder.read(make_card("findings_csv", ["A"], **values)).images == ["a-CHEST.png"]
    with pytest.raises(ValidationError, match="is not a regular expression"):
        make_card("findings_csv", ["A"], **values | {"leave_out": {"file": "*ABD"}})


def test_a_split_list_may_name_images_by_the_end_of_their_path(folder):
    folder.files("imgs/a/1.png", "imgs/b/1.png", "imgs/b/2.png", "imgs/b/3.png")
    folder.write("train.txt", "a/1.png\n2.png\n")
    folder.write("val.txt", "imgs/b/1.png\n")
    card = make_card(
        "class_folders", ["a", "b"], images="imgs", splits={"lists": {"train": "train.txt", "val": "val.txt"}}
    )
    assert folder.read(card).splits == [Split.TRAIN, Split.VAL, Split.TRAIN, None]


def test_an_image_that_the_patient_table_does_not_name_is_its_own_patient_if_the_card_declares_it(folder):
    folder.files("p/1.png", "p/2.png")
    folder.write("origin.csv", "image,old\n1,000123_4\n")
    table = {"file": "origin.csv", "image_column": "image", "value_column": "old", "image_value": "{image_stem}"}
    patient = {"tables": [table], "namespaces": {"nih": "0*(\\d+)_\\d+"}}
    assert "gives no patient for p/2.png" in fault(folder, make_card("class_folders", ["p"], patient=patient)).found
    result = folder.read(make_card("class_folders", ["p"], patient=patient | {"unlisted": "own"}))
    assert result.patients == ["nih:123", "tiny:2.png"]


def test_images_in_one_folder_or_in_many_match_one_pattern(folder):
    folder.write("labels.csv", "file,found\na.png,A\nb.png,A\n")
    options = {"image_column": "file", "findings_column": "found"}
    card = make_card("findings_csv", ["A"], file="labels.csv", images="images*/**", options=options)
    folder.files("images_1/images/a.png", "images_2/images/b.png")
    assert folder.read(card).images == ["images_1/images/a.png", "images_2/images/b.png"]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_card_names_the_download_page_and_the_licence(name):
    card = CATALOG.card(name)
    assert re.match("https?://", card.home)
    assert card.citation and card.licence.name and card.survey.modality == "X-ray"
    assert card.survey.dimension == "2D" and card.survey.anatomy and card.survey.label_presence
    assert all(where.strip() for where in card.evidence.values())
    for task, source in card.tasks.items():
        open_reader(card, task)
        assert all(item.canonical for item in source.classes)


READ = ("nih_chestxray14", "nih_bbox", "chestx_det")
"""How the names of cards begin whose files were read as they are published."""


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith(READ)])
def test_a_card_is_not_silent_about_where_its_files_are_known_from(name):
    """Every task says of its files or options where they stand, or that nobody has checked them."""
    card = CATALOG.card(name)
    named = {key.split(".")[1] for key in (*card.unverified, *card.evidence) if key.startswith("tasks.")}
    for task, source in card.tasks.items():
        alike = {other.value for other in card.tasks if card.tasks[other].options == source.options}
        assert named & alike, task


@pytest.mark.parametrize("name", PUBLIC)
def test_every_fact_has_a_source_or_is_called_unchecked(name):
    """By its own key, one above or one below; what a card shares with the card of its images is told there."""
    card = CATALOG.card(name)
    parent = CATALOG.card(card.parent) if card.parent else None
    shares = parent is not None and card.root == parent.root
    given = {
        "licence": True,
        "access": True,
        "survey.released": card.survey.released is not None,
        "survey.organisations": bool(card.survey.organisations),
        "expected": bool(card.expected.images or card.expected.patients or card.expected.splits),
        "parent": parent is not None and not shares,
        "patient": card.patient is not None and not (shares and _has_patients_of(card, parent)),
    }
    told = (*card.evidence, *card.unverified)
    silent = [
        key
        for key, is_given in given.items()
        if is_given and not any(f"{one}.".startswith(f"{key}.") or f"{key}.".startswith(f"{one}.") for one in told)
    ]
    assert silent == []


def _has_patients_of(card, parent) -> bool:
    return parent.patient is not None and card.patient.namespace == parent.patient.namespace


@pytest.mark.parametrize("name", PUBLIC)
def test_where_an_image_is_from_leads_to_a_card(name):
    card, seen = CATALOG.card(name), []
    while card.parent is not None:
        seen.append(card.name)
        card = CATALOG.card(card.parent)
        assert card.name not in seen


@pytest.mark.parametrize("name", PUBLIC)
def test_a_permission_is_certain_only_where_the_licence_is_known(name):
    """A licence that only a survey prints, or that nobody names, permits nothing."""
    licence = CATALOG.card(name).licence
    if re.search("not known|not stated|a survey prints|as a survey|rules of", licence.name):
        assert "yes" not in (licence.redistribution, licence.commercial)


@pytest.mark.parametrize("name", PUBLIC)
def test_published_counts_agree_with_each_other(name):
    card = CATALOG.card(name)
    sides, images = card.expected.splits, card.expected.images
    if images is not None:
        assert sum(sides.values()) <= images
        assert (card.expected.patients or 0) <= images
    for source in card.tasks.values():
        for positives in source.expected.positives.values():
            assert 0 < positives < source.expected.images
        assert (source.expected.images or 0) <= (images or math.inf)


def test_patients_of_one_source_have_one_name():
    """Cards over the same images name patients alike, so that splits and audits find them."""
    for family in ({"nih_chestxray14", "nih_bbox"}, {"chexpert", "chexpert_small"}, {"shenzhen", "shenzhen_masks"}):
        assert len({CATALOG.card(name).patient.namespace for name in family}) == 1, family
    for name in ("vindr_cxr_global", "chexmask_vindr"):
        assert CATALOG.card(name).patient == CATALOG.card("vindr_cxr").patient


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_columns_means_nothing_to_mimic(tmp_path, seed):
    """The published columns are alphabetical; read in CheXpert's order, thirteen of fourteen names would be wrong."""
    card = CATALOG.card("mimic_cxr_jpg")
    classes = [item.name for item in card.tasks[Task.CLASSIFICATION].classes]
    assert classes == sorted(classes)
    deal = random.Random(seed)
    images = [(f"d{k}", str(50_000 + k // 2), str(10_000_000 + k // 4)) for k in range(12)]
    studies = dict.fromkeys((subject, study) for _, study, subject in images[:-2])  # the last has no labels
    truth = {key: {name: deal.choice(["1.0", "0.0", "-1.0", ""]) for name in classes} for key in studies}
    labels = [{"subject_id": s, "study_id": t} | truth[s, t] for s, t in truth]
    split = [
        {"dicom_id": d, "study_id": t, "subject_id": s, "split": deal.choice(["train", "validate", "test"])}
        for d, t, s in images
    ]
    root = tmp_path / "mimic_cxr_jpg"
    for dicom, study, subject in images:
        folder = root / f"files/p{subject[:2]}/p{subject}/s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{dicom}.jpg").touch()
    for name, rows in (("split", split), ("chexpert", labels)):
        columns = sorted(rows[0]) if seed == 0 else deal.sample(list(rows[0]), len(rows[0]))
        with gzip.open(root / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)

    result = read_annotations(card, Task.CLASSIFICATION, tmp_path)
    assert len(result) == len(images) - 2
    numbers = {"1.0": 1.0, "0.0": 0.0, "": 0.0, "-1.0": None}
    for (dicom, study, subject), row in zip(images, split, strict=True):
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg"
        if path not in result.images:
            continue
        i = result.images.index(path)
        assert result.patients[i] == f"mimic:{subject}"
        assert result.splits[i] is {"train": Split.TRAIN, "validate": Split.VAL, "test": Split.TEST}[row["split"]]
        values = dict(zip(result.classes, result.labels[i].tolist(), strict=True))
        expected = {name: numbers[cell] for name, cell in truth[subject, study].items()}
        assert {name: None if math.isnan(v) else v for name, v in values.items()} == expected


def test_the_page_of_datasets_is_that_of_the_cards():
    page, script = ROOT / "docs/datasets.md", runpy.run_path(str(ROOT / "tools/dataset_table.py"))
    below = page.read_text(encoding="utf-8").partition(script["MARK"])[2]
    assert below.strip() == script["tables"]().strip(), "run: python tools/dataset_table.py"
