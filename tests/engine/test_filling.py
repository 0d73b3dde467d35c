"""The teacher fills the unknown: what is open, what it changes, what is counted, and that a resumed run fills alike."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.config.run import FillingConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Batch, PhaseName, SampleMeta, Split, StepOutput, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import checkpoints_in
from foundationx.engine.filling import Filling, fillable_heads
from foundationx.engine.schedule.plan import build_plan
from foundationx.evaluation.report import filling_page
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.fill import Limits

CONFIG = Path(__file__).resolve().parents[1] / "helpers" / "tiny_config.py"
LABELS, BOXES, MASKS = (
    TaskKey("phantom_labels", Task.CLASSIFICATION),
    TaskKey("phantom_boxes", Task.DETECTION),
    TaskKey("phantom_masks", Task.SEGMENTATION),
)


def module(changes=None):
    """Labels know Nodule and Consolidation (of boxes) in every second image; boxes and masks know the heart."""
    catalog, tables, indices = Catalog(), {}, {}
    for key in (LABELS, BOXES, MASKS):
        names = tuple(spec.name for spec in catalog.card(key.dataset).tasks[key.task].classes)
        labels = np.zeros((8, len(names)), dtype=np.float32)
        if key == LABELS:
            labels[::2] = np.nan
            labels[::2, 4] = 0
        rows = [str(index) for index in range(8)]
        images = [f"{index}.png" for index in range(8)]
        tables[key] = Annotations(key, names, images, rows, rows, labels, [None] * 8)
        indices[key] = {split: np.arange(8) for split in Split}
    return DataModule(tables, {}, indices, {}, load_config(CONFIG, changes or {}))


def test_what_cards_make_known_is_never_open():
    found = fillable_heads(module(), None, Catalog())
    assert {str(key): [str(entry.key) for entry in entries] for key, entries in found.items()} == {
        str(LABELS): [str(BOXES), str(MASKS)],
        str(BOXES): [str(LABELS), str(MASKS)],
        str(MASKS): [str(LABELS), str(BOXES)],
    }
    boxes_on_labels = found[LABELS][0]
    expected = np.array([[np.nan, np.nan, np.nan], [0, 0, np.nan]] * 4)  # Nodule, Consolidation, Heart
    np.testing.assert_array_equal(boxes_on_labels.known, expected)
    masks_on_boxes = found[BOXES][1]
    np.testing.assert_array_equal(masks_on_boxes.known, np.array([[np.nan, np.nan, 0]] * 8))
    assert found[LABELS][1].known is None or np.isnan(found[LABELS][1].known[:, :2]).all()
    assert {
        entry.key for entries in fillable_heads(module(), [Task.DETECTION], Catalog()).values() for entry in entries
    } == {BOXES}


def test_a_shared_head_answers_for_the_classes_that_its_dataset_never_annotates():
    shared = module({"model.shared_head": True})
    table = shared.annotations[LABELS]
    table.labels[:, 1] = np.nan
    found = fillable_heads(shared, [Task.CLASSIFICATION], Catalog())
    own = found[LABELS][0]
    assert own.key == LABELS
    assert np.isnan(own.known).all(axis=0).tolist() == [False, True, False, False, False]


def test_release_phases_train_the_filled_heads_too_and_nothing_changes_without_filling():
    sizes = {LABELS: 8, BOXES: 8, MASKS: 8}
    plain, filled = (build_plan(load_config(CONFIG, changes), sizes) for changes in ({}, {"filling": {}}))
    for before, after in zip(plain.phases, filled.phases, strict=True):
        assert set(before.trainable) <= set(after.trainable)
        assert (before.trainable == after.trainable) == (before.name is PhaseName.LOCK)
        if before.name is PhaseName.RELEASE:
            assert {f"head.{key}" for key in sizes} <= set(after.trainable)


def low_limits(evidence, classes, precision):
    return Limits(np.full(classes, 0.02), np.full(classes, 0.01))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filling")
    write_phantom_datasets(folder, 24, size=64, processes=1)
    return folder


def train(work, data, *options, resume=()):
    chosen = ["schedule.max_steps=2", "evaluate.every=0", "evaluate.final=[]", *options]
    arguments = ["train", str(CONFIG), "--data-root", str(data), "--work-dir", str(work), *resume]
    return main([*arguments, "--cfg-options", *chosen])


def losses(work):
    return [json.loads(line)["losses"] for line in (work / "log.jsonl").read_text().splitlines()]


FILLING = ("filling.from_cycle=2", "filling.weight=0.5", "filling.examples=1")


@pytest.mark.slow
def test_a_run_fills_counts_shows_and_resumes_alike(data, tmp_path, monkeypatch):
    monkeypatch.setattr("foundationx.engine.filling.choose_limits", low_limits)
    assert train(tmp_path / "whole", data, *FILLING) == 0
    assert train(tmp_path / "plain", data) == 0
    whole, plain = losses(tmp_path / "whole"), losses(tmp_path / "plain")
    cycle = len(whole) // 2
    assert whole[:cycle] == plain[:cycle] and not any("filled" in row for row in whole[:cycle])
    assert any(row.get("filled", 0) > 0 for row in whole[cycle:]) and whole[cycle:] != plain[cycle:]
    content = json.loads((tmp_path / "whole" / "filled.json").read_text())
    known = {("phantom_labels", "phantom_boxes/detection", name) for name in ("Nodule", "Consolidation")}
    for row in content["rows"]:
        place = (row["dataset"], row["head"], row["class"])
        if place in known:  # every image of the labels says whether it has one
            assert row["present"] == row["absent"] == row["unknown"] == 0, place
    assert sum(row["present"] for row in content["rows"]) > 0
    page = filling_page.section(tmp_path / "whole")
    assert "Filled by the teacher" in page and "<figure" in page
    steps = sorted((tmp_path / "whole" / "checkpoints").glob("*"))
    assert filling_page.section(tmp_path / "plain") == "" and steps


@pytest.mark.slow
def test_a_run_that_was_stopped_inside_a_cycle_fills_as_if_it_had_not_been(data, tmp_path, monkeypatch):
    monkeypatch.setattr("foundationx.engine.filling.choose_limits", low_limits)
    assert train(tmp_path / "whole", data, *FILLING, "runtime.checkpoint_every=1", "runtime.keep_checkpoints=100") == 0
    last = losses(tmp_path / "whole")
    kept = sorted(checkpoints_in(tmp_path / "whole"))
    assert len(kept) > 3
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for path in sorted(checkpoints_in(tmp_path / "again"))[-2:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train(tmp_path / "again", data, *FILLING, resume=("--resume",)) == 0
    assert losses(tmp_path / "again")[-1] == last[-1]
    before, after = (json.loads((tmp_path / name / "filled.json").read_text()) for name in ("whole", "again"))
    assert before["limits"] == after["limits"] and before["rows"] == after["rows"]


def test_filling_and_federation_exclude_each_other():
    clients = [["phantom_labels"], ["phantom_boxes"], ["phantom_masks"]]
    changes = {"filling": {}, "schedule.type": "federated", "federation": {"clients": clients}}
    with pytest.raises(ConfigError, match="filling"):
        load_config(CONFIG, changes)


def test_states_survive_json():
    limits = Limits(np.array([0.5, np.inf]), np.array([0.25, 0.0]))
    again = Limits.parse(json.loads(json.dumps(limits.as_json())))
    assert torch.equal(torch.tensor(again.present), torch.tensor(limits.present))


def test_a_step_trains_the_heads_that_the_teacher_fills_and_only_where_nothing_is_known():
    data = module()
    torch.manual_seed(0)
    student = FoundationModel(data.config.model, data.classes)
    teacher = Teacher(student)
    filling = Filling(FillingConfig(from_cycle=1, weight=0.5), data, student)
    filling.limits = {key: low_limits(None, len(data.classes[key]), 0.9) for key in (LABELS, BOXES, MASKS)}
    images = torch.randint(256, (2, 1, 64, 64), dtype=torch.uint8)
    metas = tuple(SampleMeta(LABELS, f"{index}.png", "p", "r", 64, 64) for index in range(2))
    batch = Batch(LABELS, images, images, torch.zeros(2, 5), metas)
    phase = next(p for p in build_plan(data.config, {LABELS: 8, BOXES: 8, MASKS: 8}).phases if p.key == LABELS)
    output = filling.add(StepOutput(torch.zeros(()), {}), student, teacher, batch, phase, 0.5)
    assert output.parts["filled"] > 0 and output.loss.item() == pytest.approx(0.5 * output.parts["filled"].item())
    output.loss.backward()
    touched = {key for key in data.classes if any(p.grad is not None for p in student.head(key).parameters())}
    assert touched == {BOXES, MASKS}
    counts = filling.counts["phantom_labels", BOXES]
    assert counts[:2].sum() <= 60 and counts.shape == (3, 3)  # of the image in which both findings are unknown
    locked = replace(phase, name=PhaseName.LOCK)
    same = StepOutput(torch.ones(()), {})
    assert filling.add(same, student, teacher, batch, locked, 0.5) is same
    filling.limits = {}
    assert filling.add(same, student, teacher, batch, phase, 0.5) is same
