"""Phantom copies: every card is copied, and its own reader and check return the ground truth."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError, DataError
from foundationx.core.types import Task
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import IssueKind, Severity
from foundationx.data.dataset import CardDataset
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.copy import write_copies
from foundationx.phantoms.copy_writer import RECORD
from tests.helpers.cards import all_cards

pytestmark = pytest.mark.slow

CATALOG = all_cards()
NAMES = CATALOG.names()
IMAGES, SIDE = 8, 48


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    assert write_copies(folder, NAMES, CATALOG, images=IMAGES, size=SIDE) == list(NAMES)
    return folder


def is_anatomy(item):
    return item.canonical is not None and CATALOG.vocabulary[item.canonical].kind == "anatomy"


def can_say_absent(spec):
    """Whether the published format tells a class that is absent from one that nobody looked for."""
    options = spec.files[0].options
    if spec.reader in ("bbox_csv", "mask_table", "polygon_columns_json"):
        return options.get("absent", "unknown") == "negative"
    if spec.reader in ("keypoints_csv", "point_lists_csv"):
        return options.get("absent") == "negative" or "visible_column" in options
    if spec.reader == "runs_csv":
        return options.get("empty") != []
    return spec.reader != "mask_folder"


@pytest.mark.parametrize("name", NAMES)
def test_the_cards_reader_finds_every_class_present_and_absent(copies, name):
    card = CATALOG.card(name)
    for task, spec in card.tasks.items():
        result = read_annotations(card, task, copies)
        assert result.classes == tuple(item.name for item in spec.classes) and not result.bad
        for k, item in enumerate(spec.classes):
            known = result.labels[:, k][~np.isnan(result.labels[:, k])]
            assert (known == 1).any(), f"{task.value}: {item.name} never occurs"
            if is_anatomy(item):
                assert (known == 1).all(), f"{task.value}: every image shows {item.name}"
            elif can_say_absent(spec):
                assert (known == 0).any(), f"{task.value}: {item.name} is never absent"
        for split in set(result.splits):
            assert len({p for p, s in zip(result.patients, result.splits, strict=True) if s is split}) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_the_check_finds_nothing_wrong_but_the_published_counts(copies, name):
    report = check_card(CATALOG.card(name), copies)
    assert report.images >= 4 and report.decoded == report.images
    wrong = [it for it in report.issues if it.kind is not IssueKind.COUNTS and it.severity != Severity.NOTE]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_boxes_inside_and_masks_of_their_size(copies, name):
    card = CATALOG.card(name)
    for task in set(card.tasks) & {Task.DETECTION, Task.SEGMENTATION}:
        result = read_annotations(card, task, copies)
        data = CardDataset(result, copies / card.root, ViewPipeline(32))
        for index in np.flatnonzero((result.labels == 1).any(axis=1))[:2]:
            height, width = read_grey(copies / card.root / result.images[index]).shape
            target = data.target(int(index), (height, width))
            if task is Task.DETECTION:
                boxes = target.boxes
                assert len(boxes) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all()
            else:
                masks = target.masks
                assert masks.shape == (len(result.classes), height, width)
                drawn = card.tasks[task].reader != "mask_folder" or any(map(is_anatomy, card.tasks[task].classes))
                assert (masks == 1).any() or not drawn  # an empty mask in a folder of masks says that there is nothing


def test_labels_of_one_card_contradict_no_other(copies):
    labels_of: dict[tuple, dict[float, str]] = {}
    for name in NAMES:
        card = CATALOG.card(name)
        for task, spec in card.tasks.items():
            result = read_annotations(card, task, copies)
            for image, labels in zip(result.images, result.labels, strict=True):
                for item, label in zip(spec.classes, labels, strict=True):
                    if item.canonical and item.relation == "exact" and not np.isnan(label):
                        key = (card.root, image, item.canonical, item.polarity)
                        labels_of.setdefault(key, {})[float(label)] = f"{name}/{task.value}"
    shared = {root for root, *_ in labels_of} - {
        CATALOG.card(name).root for name in NAMES if CATALOG.card(name).root == name
    }
    assert shared, "some cards share a folder"
    assert {key: who for key, who in labels_of.items() if len(who) > 1} == {}


def test_several_readers_dispute_some_findings(copies):
    card = CATALOG.card("vindr_cxr")
    result = read_annotations(card, Task.CLASSIFICATION, copies)
    by_any = card.with_options({Task.CLASSIFICATION: {"agreement": "any"}})
    disputed = np.isnan(result.labels) & (np.array([split == "train" for split in result.splits])[:, None])
    assert disputed.any()
    assert (read_annotations(by_any, Task.CLASSIFICATION, copies).labels[disputed] == 1).all()


@pytest.mark.parametrize(
    ("name", "file", "columns"),
    [
        ("nih_bbox", "nih_chestxray14/BBox_List_2017.csv", "Image Index,Bbox [x,y,w,h],Finding Label"),
        ("vindr_cxr", "vindr_cxr/annotations/image_labels_train.csv", "image_id,rad_id"),
        ("multi_nih_labels", "index.csv", "file,patient"),
    ],
)
def test_files_are_named_and_begin_as_published(copies, name, file, columns):
    assert (copies / file).read_text().splitlines()[0].startswith(columns)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_arguments_give_the_same_bytes_and_a_new_copy_replaces_the_old(tmp_path):
    def write(folder, **changes):
        write_copies(tmp_path / folder, ["node21"], CATALOG, **({"images": 6, "size": 32} | changes))
        return files_of(tmp_path / folder)

    first = write("a")
    assert write("b") == first
    assert write("c", seed=1) != first
    assert len(write("c", images=12)) > len(first)
    assert write("c") == first, "what the larger copy left is gone"


def test_files_that_are_no_copy_are_left_alone(tmp_path):
    image = tmp_path / "shenzhen" / "CXR_png" / "CHNCXR_0001_0.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"real")
    with pytest.raises(DataError, match="no copy"):
        write_copies(tmp_path, ["shenzhen_masks"], CATALOG, images=4, size=32)
    assert files_of(tmp_path) == {"shenzhen/CXR_png/CHNCXR_0001_0.png": b"real"}
    table = tmp_path / "other" / "index.csv"
    table.parent.mkdir()
    table.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        write_copies(tmp_path / "other", ["multi_paediatric"], CATALOG, images=4, size=32)
    assert table.read_text() == "mine"


OWN = """
name: clinic
title: A set of one's own
licence: {name: own, redistribution: no, commercial: no}
access: generated
root: clinic/release 2
patient: {pattern: '/case(?P<number>\\d{3,6})[ab]?-', namespace: clinic}
splits: {pattern: '-(tr|te)\\.mha$', values: {train: [tr], test: [te]}}
tasks:
  classification:
    reader: label_columns_csv
    file: tables/labels.tsv.gz
    images: 'scans/**/series?'
    table: {delimiter: tab}
    join: [{file: tables/reads.csv, 'on': [visit]}]
    keep: {view: [PA, AP]}
    options: {image_column: scan, uncertain: ones, uncertain_value: -2}
    classes:
      - {name: Fluid, canonical: pleural_effusion}
      - {name: Air, sources: [air, free air], canonical: pneumothorax}
  detection:
    reader: bbox_csv
    file: tables/boxes.csv
    images: 'scans/**/series?'
    options:
      {image_column: scan, class_column: what, box_columns: [l, t, r, b], box_layout: xyxy, empty_column: what,
       empty_values: [none], absent: negative, reader_column: who}
    classes: [{name: Fluid, canonical: pleural_effusion}]
"""


def own_catalog(folder, text, name="clinic"):
    folder.mkdir()
    (folder / f"{name}.yaml").write_text(text)
    return Catalog([Path(__file__).resolve().parents[2] / "data_registry", folder])


def test_a_card_of_a_users_own_registry_is_copied(tmp_path):
    catalog = own_catalog(tmp_path / "registry", OWN)
    assert write_copies(tmp_path / "data", ["clinic"], catalog, images=10, size=SIDE) == ["clinic"]
    card = catalog.card("clinic")
    labels, boxes = (read_annotations(card, task, tmp_path / "data") for task in card.tasks)
    assert sorted(labels.images) == sorted(boxes.images)
    assert {image.partition("/")[0] for image in labels.images} == {"scans"}
    assert set(labels.splits) == {"train", "test"} and len(set(labels.patients)) > 3
    fluid = dict(zip(boxes.images, boxes.labels[:, 0], strict=True))
    known = [(label, fluid[image]) for image, label in zip(labels.images, labels.labels[:, 0], strict=True)]
    assert {pair for pair in known if not np.isnan(pair).any()} >= {(1.0, 1.0), (0.0, 0.0)}
    assert not any(pair == (0.0, 1.0) for pair in known)
    report = check_card(card, tmp_path / "data")
    assert [issue for issue in report.issues if issue.severity != Severity.NOTE] == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (r"case(?P<number>\d{3,6})", r"(?=case)(\w+)", "patient.pattern"),
        (r"-(tr|te)\.mha$", r"-(tr|te)\.nii$", "image_suffix"),
        (r"/case(?P<number>\d{3,6})[ab]?-", r"^(\d+)$", "no file name matches"),
    ],
)
def test_what_cannot_be_imitated_is_named(tmp_path, old, new, key):
    catalog = own_catalog(tmp_path / "registry", OWN.replace(old, new))
    with pytest.raises(CardError, match=key):
        write_copies(tmp_path / "data", ["clinic"], catalog, images=4, size=32)


def test_marks_are_visible_at_their_annotated_positions(tmp_path):
    """A class that the phantom does not know is a bright spot: its polygon is brighter than what is around it."""
    write_copies(tmp_path, ["object_cxr"], CATALOG, images=12, size=96)
    card = CATALOG.card("object_cxr")
    result = read_annotations(card, Task.SEGMENTATION, tmp_path)
    data = CardDataset(result, tmp_path / card.root, ViewPipeline(32))
    for index in np.flatnonzero(result.labels[:, 0] == 1):
        image = read_grey(tmp_path / card.root / result.images[index]).astype(float)
        mask = data.target(int(index), image.shape).masks[0] == 1
        around = np.zeros_like(mask)
        ys, xs = np.nonzero(mask)
        around[max(ys.min() - 3, 0) : ys.max() + 4, max(xs.min() - 3, 0) : xs.max() + 4] = True
        assert image[mask].mean() > image[around & ~mask].mean() + 10


def test_command_copies_the_datasets_of_a_configuration(tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(
        'name = "x"\nimage_size = 64\ndatasets = [dict(card="shenzhen"), dict(card="node21")]\n'
        'model = dict(backbone=dict(type="mmdet.SwinTransformer"))\nschedule = dict(cycles=1)\n'
    )
    arguments = ["data", "phantoms", str(tmp_path / "data"), "--images", "4", "--size", "32"]
    assert main([*arguments, "--config", str(config)]) == 0
    assert "node21, shenzhen, shenzhen_boxes, shenzhen_lesions, shenzhen_masks" in capsys.readouterr().out
    assert json.loads((tmp_path / "data" / "node21" / RECORD).read_text())
    assert sorted(os.listdir(tmp_path / "data")) == ["node21", "shenzhen"]
    config.write_text(config.read_text().replace('card="node21"', 'card="node21", root="elsewhere"'))
    assert main([*arguments, "--config", str(config)]) == 2
    assert "datasets.1.root" in capsys.readouterr().err
    assert main([*arguments, "--card", "nod21"]) == 2
    assert "node21" in capsys.readouterr().err
