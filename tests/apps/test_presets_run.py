"""Every preset trains, changed in nothing but its sizes, on phantom copies of the datasets that it names."""

import json
from pathlib import Path

import pytest

from foundationx.apps.cli.main import main
from foundationx.core.config.load import load_config
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.copy import write_copies

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FOUND = sorted(path for name in ("ark", "backbones", "foundation_x") for path in (CONFIGS / name).glob("*.py"))
# Those with visits of another kind or a run before them (federated, concurrent, continual): test_presets_variants.py.
PRESETS = [p for p in FOUND if load_config(p).schedule.type == "cyclic" and load_config(p).model.init_run is None]
SWIN = [
    "model.backbone.embed_dims=8",
    "model.backbone.depths=(1,1,1,1)",
    "model.backbone.num_heads=(1,1,2,2)",
    "model.backbone.window_size=4",
]
CONVNEXT = ["model.backbone.depths=(1,1,1,1)", "model.backbone.dims=(8,8,16,16)"]
TRUNKS_AND_RUN = [
    "image_size=64",
    "model.detection.embed_dims=16",
    "model.detection.num_heads=2",
    "model.detection.ffn_dims=16",
    "model.detection.encoder_layers=1",
    "model.detection.decoder_layers=2",
    "model.detection.queries=10",
    "model.detection.denoising=4",
    "model.segmentation.channels=8",
    "schedule.cycles=1",
    "schedule.max_steps=2",
    "evaluate.every=1",
    "evaluate.examples=1",
    "runtime.batch_size=4",
    "runtime.eval_batch_size=4",
    "runtime.workers=0",
]
SIZES = [*SWIN, *TRUNKS_AND_RUN]


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Copies of all datasets that any preset names."""
    folder = tmp_path_factory.mktemp("copies")
    names = {dataset.card for path in PRESETS for dataset in load_config(path).datasets}
    write_copies(folder, sorted(names), Catalog(), images=16, size=64)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_on_copies(path, copies, tmp_path):
    model = load_config(path).model
    sizes = [*(CONVNEXT if model.backbone["type"] == "mmdet.ConvNeXt" else SWIN), *TRUNKS_AND_RUN]
    sizes += ["model.projector.features=16"] if model.projector is not None else []
    arguments = ["train", str(path), "--data-root", str(copies), "--work-dir", str(tmp_path), "--cfg-options", *sizes]
    assert main(arguments) == 0
    expected = [f"{dataset.card}/{task.value}" for dataset in load_config(path).datasets for task in dataset.tasks]
    visits = json.loads((tmp_path / "plan.json").read_text())["visits"]
    assert [f"{visit['dataset']}/{visit['task']}" for visit in visits] == expected
    locked = {visit["task"] for visit in visits if [phase["name"] for phase in visit["phases"]] == ["lock", "release"]}
    lock = load_config(path).schedule.lock
    assert locked == {visit["task"] for visit in visits if lock[visit["task"]] > 0}
    folder = WorkDir(tmp_path)
    rows = folder.read_metrics()
    last = max(row.visit for row in rows)
    for model in ("student", "teacher"):
        heads = {f"{row.dataset}/{row.task}" for row in rows if row.visit == last and row.model == model}
        assert heads == set(expected)
    report = folder.report.read_text(encoding="utf-8")
    assert all(head.split("/")[0] in report for head in expected)
