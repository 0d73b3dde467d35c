"""The shipped recipe over the public datasets: what it writes trains, without an edit, on phantom copies of them."""

import json
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.workdir import WorkDir

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "configs" / "recipes" / "chest_xray_all_tasks.yaml"


@pytest.mark.slow
def test_the_recipe_for_all_tasks_trains_on_copies_of_its_datasets(tmp_path):
    values = yaml.safe_load(RECIPE.read_text())
    small = {"schedule": {"max_steps": 1}, "evaluate": {"every": 0, "final": [], "examples": 0}}
    values["run"] = {
        "base": [str(ROOT / "tests" / "helpers" / "tiny_config.py")],
        "image_size": 64,
        "cycles": 1,
        "options": small,
    }
    recipe, fused, copies = tmp_path / "recipe.yaml", tmp_path / "fused", tmp_path / "copies"
    recipe.write_text(yaml.safe_dump(values))
    assert main(["data", "fuse", str(recipe), "--out", str(fused), "--allow-code"]) == 0
    config = fused / "config.py"
    assert main(["data", "phantoms", str(copies), "--config", str(config), "--images", "8", "--size", "64"]) == 0
    work = tmp_path / "run"
    assert main(["train", str(config), "--data-root", str(copies), "--work-dir", str(work)]) == 0

    rows = json.loads((fused / "audit.json").read_text())
    kept = {row["dataset"] for row in rows if row["decision"] == "kept" and row["trains"]}
    trained = {dataset.card for dataset in load_config(config).datasets}
    assert len(trained) > 20 and trained == kept
    visited = {(visit["dataset"], visit["task"]) for visit in WorkDir(work).read_json("plan.json")["visits"]}
    assert {card for card, _ in visited} == trained
    assert {task for _, task in visited} == {"classification", "detection", "segmentation"}
    assert (work / "backbone_teacher.safetensors").exists()
