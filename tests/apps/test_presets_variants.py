"""The presets of Ark that do not cycle over their own datasets from scratch, on phantom copies of their datasets."""

import json
from pathlib import Path

import pytest

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.copy import write_copies
from tests.apps.test_presets_run import CONFIGS, SIZES

ARK = CONFIGS / "ark"


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Copies of the seven datasets."""
    folder = tmp_path_factory.mktemp("copies")
    names = [dataset.card for dataset in load_config(ARK / "ark_continual.py").datasets]
    write_copies(folder, names, Catalog(), images=16, size=64)
    return folder


def carried_out(command: str, preset: str, data: Path, folder: Path, *changes: str) -> WorkDir:
    sizes = [*SIZES, "model.projector.features=16", "evaluate.every=0", "evaluate.final=['val']", *changes]
    arguments = [command, str(ARK / f"{preset}.py"), "--data-root", str(data), "--work-dir", str(folder)]
    assert main([*arguments, "--cfg-options", *sizes]) == 0
    assert (folder / "report.html").is_file()
    return WorkDir(folder)


@pytest.mark.slow
def test_ark_plus_federated(copies, tmp_path):
    folder = carried_out("federate", "ark_plus_federated", copies, tmp_path)
    visits = [visit["dataset"] for visit in json.loads((tmp_path / "plan.json").read_text())["visits"]]
    held = [["mimic_cxr_jpg"], ["chexpert", "rsna_pneumonia"], ["nih_chestxray14", "vindr_cxr_global", "shenzhen"]]
    assert visits == [card for client in held for card in client]
    assert {row.model for row in folder.read_metrics() if row.visit} == {"student", "teacher", "local", "trivial"}


@pytest.mark.slow
def test_ark_concurrent(copies, tmp_path):
    carried_out("train", "ark_concurrent", copies, tmp_path)
    visits = json.loads((tmp_path / "plan.json").read_text())["visits"]
    assert {phase["steps"] for visit in visits for phase in visit["phases"]} == {1}
    assert len({visit["dataset"] for visit in visits}) == 6 and len(visits) > 6


@pytest.mark.slow
def test_ark_continual_after_ark(copies, tmp_path):
    carried_out("train", "ark", copies, tmp_path / "first")
    folder = carried_out("train", "ark_continual", copies, tmp_path / "then", f"model.init_run={tmp_path / 'first'}")
    origin = folder.read_json("run.json")["begins_from"]
    assert list(origin["initialised"]) == ["covidx/classification"] and len(origin["loaded"]) == 6
    assert not origin["skipped"]
