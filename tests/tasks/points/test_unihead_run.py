"""A whole run with UniHead for every task: trained in lock and release, evaluated, reported, exported, predicted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.core.workdir import WorkDir
from foundationx.phantoms.write import write_phantom_datasets

HELPERS = Path(__file__).resolve().parents[2] / "helpers"


@pytest.mark.slow
@pytest.mark.parametrize("config", ["tiny_unihead.py", "tiny_one_stage.py"])
def test_a_run_is_trained_evaluated_reported_exported_and_predicts(config, tmp_path):
    data, work = tmp_path / "data", tmp_path / "run"
    write_phantom_datasets(data, 14, size=64, processes=1)
    sizes = ["schedule.cycles=1", "schedule.max_steps=2"]
    arguments = [
        "train",
        str(HELPERS / config),
        "--data-root",
        str(data),
        "--work-dir",
        str(work),
        "--cfg-options",
        *sizes,
    ]
    assert main(arguments) == 0
    log = WorkDir(work).read_log()
    assert {row["phase"] for row in log if row["task"] != "classification"} == {"lock", "release"}
    assert "outline" in next(row for row in log if row["task"] == "segmentation")["losses"]
    assert all(np.isfinite(value) for row in log for value in row["losses"].values())
    metrics = {(row.task, row.metric) for row in WorkDir(work).read_metrics()}
    assert {
        ("classification", "AUROC"),
        ("detection", "AP40"),
        ("segmentation", "Dice"),
        ("keypoints", "MRE"),
    } <= metrics
    assert not main(["report", str(work)]) and (work / "report.html").exists()
    image = next((data / "phantom_labels" / "images").iterdir())
    assert not main(["predict", str(work), str(image), "--out", str(tmp_path / "said")])
    (said,) = (tmp_path / "said").rglob(f"{image.name}.json")
    assert len(json.loads(said.read_text())["heads"]) == 4
    network = tmp_path / "whole.pt2"
    assert not main(["export", str(work), "--to", "torch-export-model", "--out", str(network)])
    outputs = torch.export.load(network).module()(torch.zeros(64, 64, dtype=torch.uint8))
    assert len(outputs) == 7 and outputs[4].shape[-2:] == (64, 64) and outputs[5].shape == (9, 2)
