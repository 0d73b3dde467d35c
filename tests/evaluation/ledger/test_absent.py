"""False positives on the images of other datasets: which images count, and what the heads of real runs find there."""

import json
from pathlib import Path

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.ledger.absent import absent_images
from foundationx.phantoms.write import write_phantom_datasets

CONFIG = Path(__file__).resolve().parents[2] / "helpers" / "tiny_config.py"
LABELS, BOXES = (
    TaskKey("phantom_labels", Task.CLASSIFICATION),
    TaskKey("phantom_boxes", Task.DETECTION),
)


def module(labels_of_labels, labels_of_boxes):
    catalog, tables, indices = Catalog(), {}, {}
    for key, labels in ((LABELS, labels_of_labels), (BOXES, labels_of_boxes)):
        names = tuple(spec.name for spec in catalog.card(key.dataset).tasks[key.task].classes)
        images = [f"{index:03d}.png" for index in range(len(labels))]
        rows = [str(index) for index in range(len(labels))]
        tables[key] = Annotations(key, names, images, rows, rows, labels.astype(np.float32), [None] * len(rows))
        indices[key] = {split: np.arange(len(labels)) if split is Split.TEST else np.arange(0) for split in Split}
    return DataModule(tables, {}, indices, {}, load_config(CONFIG))


def test_only_images_whose_class_is_known_to_be_absent_count():
    """Boxes know Nodule, Consolidation and Heart; labels Nodule, Consolidation and three others."""
    labels = np.zeros((40, 5))
    boxes = np.zeros((40, 3))
    boxes[:, 2] = 1
    boxes[:15, 0], boxes[15:20, 0] = 1, np.nan
    boxes[:, 1] = 1
    (found,) = absent_images(module(labels, boxes), LABELS, Split.TEST, Catalog())
    assert found.dataset == "phantom_boxes"
    assert [ref.index for ref in found.refs] == list(range(20, 40)) and {ref.key for ref in found.refs} == {BOXES}
    np.testing.assert_array_equal(found.absent, np.array([[True, False, False, False, False]] * 20))
    (other,) = absent_images(module(labels, boxes), BOXES, Split.TEST, Catalog())
    np.testing.assert_array_equal(other.absent, np.array([[True, True, False]] * 40))
    assert absent_images(module(labels, boxes), LABELS, Split.VAL, Catalog()) == []


@pytest.mark.slow
def test_the_ledger_of_trained_runs_has_groups_and_other_datasets(tmp_path):
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 160, "phantom_boxes": 160}, size=64)
    shared = ["schedule.cycles=1", "schedule.max_steps=2", "evaluate.every=0", "split.train=0.3", "split.val=0.1"]
    shared += ["split.test=0.6"]
    for name, datasets in (
        ("joint", "[{'card':'phantom_labels'},{'card':'phantom_boxes'}]"),
        ("alone/labels", "[{'card':'phantom_labels'}]"),
        ("alone/boxes", "[{'card':'phantom_boxes'}]"),
    ):
        options = ["--work-dir", str(tmp_path / name), "--cfg-options", *shared]
        config = tmp_path / f"{name.replace('/', '_')}.py"
        config.write_text(f"_base_ = [{str(CONFIG)!r}]\ndatasets = {datasets}\n")
        assert main(["train", str(config), "--data-root", str(tmp_path / "data"), *options]) == 0
    arguments = ["ledger", str(tmp_path / "joint"), "--alone", str(tmp_path / "alone"), "--repeats", "100"]
    assert main([*arguments, "--data-root", str(tmp_path / "data"), "--device", "cpu"]) == 0
    entries = json.loads((tmp_path / "joint" / "ledger.json").read_text())["entries"]
    sites = {(entry["head"], entry["site"]) for entry in entries}
    assert {
        ("phantom_labels/classification", site) for site in ("all", "sex: M", "sex: F", "on phantom_boxes")
    } <= sites
    assert ("phantom_boxes/detection", "on phantom_labels") in sites
    assert "Harm ledger" in (tmp_path / "joint" / "report.html").read_text() or not main(
        ["report", str(tmp_path / "joint")]
    )
