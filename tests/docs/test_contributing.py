"""The examples of CONTRIBUTING.md work as printed: written into a package outside, joined by its entry points."""

import csv
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import foundationx
from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.types import Task, TaskKey
from foundationx.engine.schedule.plan import SCHEDULES
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.self_supervision.objective import open_objective
from foundationx.tasks.self_supervision.objectives.peac import Peac
from tests.helpers.outside_package import install_distribution

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (my_package/\w+\.py)\n(.*?)```", TEXT, re.S))
ENTRY_POINTS = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.S)[1])["project"]["entry-points"]
TINY = ROOT / "tests" / "helpers" / "tiny_config.py"
CARD = """
name: outside_labels
title: Labels in a format of an outside package
licence: {name: CC0, spdx: CC0-1.0, redistribution: yes, commercial: yes}
access: generated
root: phantom_labels
patient: {column: patient}
tasks:
  classification:
    reader: json_labels
    file: labels.json
    images: images
    classes: [Nodule, Effusion]
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package of CONTRIBUTING.md, installed beside the tests."""
    folder = tmp_path_factory.mktemp("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        (folder / "my_package").mkdir()
        modules = {name.removesuffix(".py"): text for name, text in FILES.items()}
        install_distribution(folder, "my-package", ENTRY_POINTS, {"my_package/__init__": "", **modules})
        yield folder


@pytest.fixture(scope="module")
def phantoms(package, tmp_path_factory):
    """Phantoms, and a card whose labels are in the outside reader's format."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 12, size=96, processes=1)
    with open(next((folder / "phantom_labels").glob("*.csv")), encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    image, findings, patient = (
        next(name for name in rows[0] if word in name.lower()) for word in ("image", "finding", "patient")
    )
    known = ("Nodule", "Effusion")
    records = [
        {
            "image": row[image],
            "findings": [name for name in row[findings].split("|") if name in known],
            "patient": row[patient],
        }
        for row in rows
    ]
    (folder / "phantom_labels" / "labels.json").write_text(json.dumps(records))
    (folder / "cards").mkdir()
    (folder / "cards" / "outside_labels.yaml").write_text(CARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOUNDATIONX_REGISTRY", str(folder / "cards"))
        yield folder


@pytest.fixture(scope="module")
def run(phantoms, tmp_path_factory):
    """A run with the outside head on the outside reader's card."""
    changes = {
        "schedule.cycles": 2,
        "evaluate.every": 1,
        "datasets": [{"card": "outside_labels"}],
        "split.seed": 0,
        "model.heads": {"classification": {"type": "mlp", "options": {"hidden": 7}}},
    }
    return foundationx.train(TINY, phantoms, tmp_path_factory.mktemp("run") / "run", changes=changes)


def test_every_entry_point_has_an_example_and_every_example_an_entry_point():
    named = {target.replace(".", "/") + ".py" for group in ENTRY_POINTS.values() for target in group.values()}
    assert named == set(FILES) and len(FILES) == 8


def test_a_head_is_chosen_and_trained(run):
    model = foundationx.load(run)
    (head,) = model.network.heads.values()
    assert type(head).__name__ == "MlpHead" and head.classifier[0].out_features == 7
    untouched = [row for row in (run / "log.jsonl").read_text().splitlines() if "bce" not in json.loads(row)["losses"]]
    assert not untouched


def test_a_reader_reads(run, phantoms):
    data = foundationx.open_dataset("outside_labels", phantoms, split="train", image_size=64)
    published = {row["image"]: row for row in json.loads((phantoms / "phantom_labels" / "labels.json").read_text())}
    assert len(data) >= 5 and data.classes == ("Nodule", "Effusion")
    for sample in (data[index] for index in range(len(data))):
        findings = published[Path(sample.meta.image).name]["findings"]
        assert sample.labels.tolist() == [float(name in findings) for name in data.classes]


def test_a_metric_is_there_at_every_evaluation(run):
    rows = json.loads((run / "metrics.json").read_text())
    visits = {metric: {row["visit"] for row in rows if row["metric"] == metric} for metric in ("AUROC", "Brier")}
    assert visits["Brier"] == visits["AUROC"] and len(visits["Brier"]) >= 3
    assert {row["class"] for row in rows if row["metric"] == "Brier"} == {"Nodule", "Effusion", "mean"}


def test_a_metric_is_what_its_name_promises(run, phantoms):
    (row,) = [
        row
        for row in foundationx.evaluate(run, phantoms, split="train", models=["teacher"])
        if (row.metric, row.class_name) == ("Brier", "Nodule")
    ]
    data = foundationx.open_dataset("outside_labels", phantoms, split="train", image_size=64)
    paths = [phantoms / "phantom_labels" / data[index].meta.image for index in range(len(data))]
    shown = foundationx.load(run).predict(paths)
    probabilities = [result["heads"]["outside_labels/classification"]["Nodule"] for result in shown]
    labels = [data[index].labels[0] for index in range(len(data))]
    assert row.n == len(data)
    assert row.value == pytest.approx(np.square(np.subtract(probabilities, labels)).mean(), abs=1e-3)


def test_an_export_format_writes(run, tmp_path, capsys):
    target = tmp_path / "weights.npz"
    assert main(["export", str(run), "--to", "numpy", "--out", str(target)]) == 0
    assert "numpy.load" in capsys.readouterr().out
    stored, own = np.load(target), foundationx.load_backbone(run).net.state_dict()
    assert set(stored) == set(own) and all(np.array_equal(stored[name], own[name].numpy()) for name in own)


def test_a_subclass_of_a_shipped_objective_is_itself(package):
    objective, _ = open_objective({"type": "peac_short"})
    assert objective.__name__ == "PeacShort" and issubclass(objective, Peac) and objective is not Peac
    assert open_objective({"type": "peac"})[0] is Peac


def test_the_subclass_trains_without_the_loss_that_it_leaves_out(phantoms, tmp_path):
    small = {"cells": 2, "shift": 1, "global_width": 16, "local_width": 16}
    changes = {
        "datasets": [{"card": "phantom_labels", "tasks": ["self_supervision"]}],
        "schedule.cycles": 1,
        "schedule.max_steps": 2,
        "evaluate.every": 0,
    }
    losses = {}
    for name in ("peac", "peac_short"):
        changes["model.objective"] = {"type": name, **small}
        run = foundationx.train(TINY, phantoms, tmp_path / name, changes=changes)
        losses[name] = set(json.loads((run / "log.jsonl").read_text().splitlines()[0])["losses"])
    assert losses["peac"] - losses["peac_short"] == {"restore"} and losses["peac_short"] <= losses["peac"]


def test_a_schedule_a_protocol_and_a_command_are_found(run, phantoms, capsys):
    config = load_config(TINY)
    sizes = dict.fromkeys(_keys(config), 12)
    phases = list(SCHEDULES.get("reverse")(config, sizes))
    assert phases[0].key == list(sizes)[-1] and phases[-1].key == next(iter(sizes))
    arguments = ["eval", str(run), "--data-root", str(phantoms), "--protocol", "feature-norm"]
    assert main([*arguments, "--card", "outside_labels"]) == 0
    assert "mean length" in capsys.readouterr().out
    assert main(["heads", str(run)]) == 0
    assert capsys.readouterr().out == "outside_labels/classification\n"


def _keys(config):
    tasks = {"phantom_labels": Task.CLASSIFICATION, "phantom_boxes": Task.DETECTION, "phantom_masks": Task.SEGMENTATION}
    return [TaskKey(dataset.card, tasks[dataset.card]) for dataset in config.datasets]
