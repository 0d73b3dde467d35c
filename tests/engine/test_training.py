"""The loop on tiny phantoms: it learns from the plan's batches, stops at any step and goes on bit-identically."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foundationx.apps.run.hooks import best_visits
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.errors import CheckpointError, ConfigError, DataError
from foundationx.core.types import MetricRow, Split
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.exclusion import read_exclusions
from foundationx.engine.checkpoint import load_checkpoint, newest_checkpoint
from foundationx.engine.resume import Resume
from foundationx.evaluation.checkpoint import evaluate_checkpoint
from foundationx.evaluation.measure import metric_rows
from foundationx.evaluation.predictions import find_predictions
from foundationx.evaluation.stored import read_with_thresholds
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.weights.exports.backbone import export_backbone, load_backbone

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
HEADS = {"phantom_labels/classification", "phantom_boxes/detection", "phantom_masks/segmentation"}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


@pytest.fixture(scope="module")
def finished(phantoms, tmp_path_factory):
    """A whole run that nobody stopped."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    assert train(load_config(CONFIG), phantoms, folder, config_file=CONFIG)
    return folder


def test_a_run_leaves_what_it_promises(finished):
    folder = WorkDir(finished)
    for name in ("config.py", "config.json", "plan.json", "datasets.json", "splits.json", "run.json", "curves.json"):
        assert (finished / name).is_file(), name
    assert folder.report.is_file() and (finished / "backbone_teacher.safetensors").is_file()
    log = folder.read_log()
    total = folder.read_json("plan.json")["total_steps"]
    assert log[-1]["step"] == total and [row["step"] for row in log] == sorted({row["step"] for row in log})
    assert all(torch.isfinite(torch.tensor(list(row["losses"].values()))).all() for row in log)
    assert {f"{row['dataset']}/{row['task']}" for row in log} == HEADS


def test_metrics_hold_every_head_model_and_split(finished):
    rows = WorkDir(finished).read_metrics()
    last = max(row.visit for row in rows)
    for split in ("val", "test"):
        for model in ("student", "teacher"):
            heads = {f"{r.dataset}/{r.task}" for r in rows if (r.split, r.model, r.visit) == (split, model, last)}
            assert heads == HEADS
    assert {row.visit for row in rows if row.split == "test"} == {0, last}, "test is opened before and after, no more"


def test_a_run_keeps_predictions_that_give_its_own_figures(finished):
    rows = {replace(row, value=None): row.value for row in WorkDir(finished).read_metrics() if row.visit}
    paths = find_predictions(finished)
    assert len(paths) == len(HEADS) * 4, "two sides of two models"
    metrics = set()
    for path in paths:
        for row in metric_rows(read_with_thresholds(path, finished)):
            recorded = rows[replace(row, value=None)]
            assert row.value == (None if recorded is None else pytest.approx(recorded, abs=1e-9)), row
            metrics.add(row.metric)
    assert metrics >= {"AUROC", "F1", "ECE", "AP40", "FROC", "Dice", "HD95"}


def test_every_metric_is_there_at_every_evaluation(finished):
    rows = WorkDir(finished).read_metrics()
    last = max(row.visit for row in rows)
    visits = {row.visit for row in rows if row.split == "val"}
    assert len(visits) > 2
    for task, metrics in {
        "classification": {"AUROC", "AUPRC", "ECE"}, "detection": {"AP40", "FROC", "FROC 1/8"},
        "segmentation": {"Dice", "HD95", "ASD"},
    }.items():  # fmt: skip
        for visit in visits:
            assert metrics <= {row.metric for row in rows if (row.task, row.visit, row.split) == (task, visit, "val")}
    for visit in (0, last):
        result = {r.metric for r in rows if (r.task, r.visit, r.split) == ("classification", visit, "test")}
        assert {"F1", "MCC", "Accuracy"} <= result, "thresholds are those of validation at the same visit"
    assert not (finished / "predictions.partial").exists() or not list((finished / "predictions.partial").iterdir())


def test_the_split_is_by_patient_and_recorded(finished):
    splits = WorkDir(finished).read_json("splits.json")
    assert set(splits.values()) == {"train", "val", "test"}
    images = {(row["dataset"], row["split"]): row["images"] for row in WorkDir(finished).read_json("datasets.json")}
    assert sum(count for (dataset, _), count in images.items() if dataset == "phantom_labels") == 14


def command(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return [sys.executable, "-m", "foundationx.apps.cli.main", *map(str, arguments)], environment


@pytest.mark.slow
def test_stopped_by_sigterm_and_resumed_it_ends_bit_identical(phantoms, tmp_path):
    """Student, teacher and optimizer after stopping twice, in the middle of phases, equal those of the whole run."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    start, environment = command("train", CONFIG, "--data-root", phantoms)
    subprocess.run([*start, "--work-dir", whole], env=environment, check=True, capture_output=True, timeout=300)
    resume: list[str] = []
    for lines in (2, 6):
        running = subprocess.Popen([*start, "--work-dir", torn, *resume], env=environment, stdout=subprocess.PIPE)
        deadline = time.monotonic() + 200
        while len(WorkDir(torn).read_log()) < lines and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=200)
        assert running.returncode in (0, 130)
        resume = ["--resume"]
    stopped = load_checkpoint(torn)
    assert 0 < stopped.step < load_checkpoint(whole).step, "the run was over before it could be stopped"
    subprocess.run([*start, "--work-dir", torn, "--resume"], env=environment, check=True, timeout=300)
    one, two = load_checkpoint(whole), load_checkpoint(torn)
    assert one.step == two.step
    for name in ("student", "teacher"):
        first, second = getattr(one, name), getattr(two, name)
        assert all(torch.equal(first[key], second[key]) for key in first), name
    for key, state in one.optimizer["state"].items():
        assert all(torch.equal(state[n], two.optimizer["state"][key][n]) for n in state)
    steps = [row["step"] for row in WorkDir(torn).read_log()]
    assert steps == sorted(set(steps)), "log rows are doubled"


def test_resume_refuses_another_configuration_and_a_used_folder(finished, phantoms):
    config = load_config(CONFIG)
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(config, phantoms, finished, resume=Resume.NEVER)
    longer = load_config(CONFIG, {"schedule.cycles": 5})
    with pytest.raises(
        CheckpointError, match=r"differs from the checkpoint's in schedule\.cycles: 2 -> 5[^$]*config\.json"
    ):
        train(longer, phantoms, finished)
    other = load_config(CONFIG, {"runtime.batch_size": 2, "runtime.seed": 1})
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    with pytest.raises(CheckpointError, match=r"in runtime\.batch_size: 4 -> 2; runtime\.seed: 0 -> 1"):
        train(other, phantoms, finished, resume=Resume.CHANGED)
    assert before == {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}, "a file was touched"


def test_the_best_visit_of_a_head_by_hand():
    def row(visit, value, model="teacher", split="val", task="classification", metric="AUROC", class_name="mean"):
        return MetricRow("films", task, metric, class_name, value, 9, model, visit, split)

    rows = [row(0, 0.99), row(2, 0.7), row(6, 0.8), row(4, 0.8), row(8, None)]
    rows += [row(8, 0.95, model="student"), row(8, 0.96, split="test"), row(8, 0.97, class_name="mass")]
    rows += [row(2, 0.4, task="detection", metric="AP50"), row(2, None, task="detection", metric="AP40")]
    best = best_visits(rows, Split.VAL, "teacher")
    assert {str(key): (result.visit, result.value) for key, result in best.items()} == {
        "films/classification": (4, 0.8)
    }


def test_the_best_checkpoints_are_named_and_there(finished):
    best = WorkDir(finished).read_json("best.json")
    steps = {int(path.stem.removeprefix("step_")) for path in (finished / "checkpoints").glob("*.pt")}
    metrics = WorkDir(finished).read_metrics()
    for head, named in best.items():
        values = [
            row.value
            for row in metrics
            if f"{row.dataset}/{row.task}" == head
            and (row.metric, row.class_name, row.model, row.split) == (named["metric"], "mean", "teacher", "val")
            and row.visit
        ]
        assert named["value"] == max(values) and named["step"] in steps


def test_a_torn_or_foreign_checkpoint_is_named(finished, tmp_path):
    whole = newest_checkpoint(finished)
    torn = tmp_path / "step_00000001.pt"
    torn.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"step_00000001\.pt: cannot be read"):
        load_checkpoint(torn)
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a foundationx checkpoint"):
        load_checkpoint(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(tmp_path / "..")


def test_evaluation_of_a_checkpoint_gives_the_run_s_own_figures(finished, phantoms):
    rows = evaluate_checkpoint(finished, phantoms, Split.VAL, ("teacher",), device="cpu")
    recorded = WorkDir(finished).read_metrics()
    last = max(row.visit for row in recorded)
    values = {(r.dataset, r.task, r.metric, r.class_name): r.value for r in rows if r.model == "teacher"}
    for row in recorded:
        if (row.visit, row.split, row.model) == (last, "val", "teacher"):
            assert values[row.dataset, row.task, row.metric, row.class_name] == row.value


def test_exported_backbone_gives_equal_features_and_fits_only_its_like(finished, tmp_path):
    checkpoint = load_checkpoint(finished)
    teacher = checkpoint.model("teacher")
    path = export_backbone(teacher, checkpoint.config, "teacher", tmp_path / "b.safetensors")
    torch.manual_seed(1)
    fresh = FoundationModel(checkpoint.config.model, checkpoint.classes).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(fresh.backbone(images)[-1], teacher.backbone(images)[-1])
        load_backbone(fresh.backbone.net, path)
        for ours, theirs in zip(fresh.backbone(images), teacher.backbone(images), strict=True):
            assert torch.equal(ours, theirs)
    wider = checkpoint.config.model.model_copy(
        update={"backbone": checkpoint.config.model.backbone | {"embed_dims": 16}}
    )
    with pytest.raises(CheckpointError, match="other shape"):
        load_backbone(FoundationModel(wider, checkpoint.classes).backbone.net, path)


def test_bad_samples_are_errors_or_are_listed(phantoms, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    broken = sorted((data / "phantom_labels" / "images").glob("*.png"))[:3]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"\.png: is truncated or damaged"):
        train(load_config(CONFIG, {"evaluate.final": []}), data, tmp_path / "raise")
    skipping = load_config(CONFIG, {"runtime.on_bad_sample": "skip"})
    assert train(skipping, data, tmp_path / "skip")
    listed = {entry["file"] for entry in json.loads((tmp_path / "skip" / "bad_samples.json").read_text())}
    assert listed == {f"images/{path.name}" for path in broken}
    quarantine = tmp_path / "skip" / "quarantine.csv"
    assert {(entry.dataset, entry.image) for entry in read_exclusions(quarantine)} == {
        ("phantom_labels", image) for image in listed
    }
    data_module = open_datasets(load_config(CONFIG, {"exclude": str(quarantine)}), data)
    assert data_module.excluded["phantom_labels"] == listed, "the next run takes it as its exclusion list"
    assert broken[0].name in (tmp_path / "skip" / "report.html").read_text()


def test_an_unknown_backbone_is_named(phantoms, tmp_path):
    options = {"model.backbone.type": "mmdet.SwinTransfromer"}
    with pytest.raises(ConfigError, match="did you mean 'SwinTransformer'"):
        train(load_config(CONFIG, options), phantoms, tmp_path / "x")
