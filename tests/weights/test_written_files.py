"""Files that are written: same bytes for same content, complete or absent, mode by umask, strict JSON, safe cells."""

import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from foundationx.core.atomic_write import write_atomically, write_verified
from foundationx.core.config.load import load_config
from foundationx.core.errors import DiskError
from foundationx.core.types import MetricRow, Task, TaskKey
from foundationx.core.workdir import WorkDir, write_metrics
from foundationx.evaluation.compare.compare import Cell, Comparison, Row
from foundationx.evaluation.compare.table import as_csv
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of
from foundationx.weights.exports.formats import FORMATS, Source
from foundationx.weights.safetensors_file import write_safetensors

METADATA = {name: name * 3 for name in ("format", "run", "model", "backbone", "image_size", "mean", "std", "shift")}
TENSORS = {"b.weight": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.int64)}


def test_the_same_weights_are_the_same_bytes(tmp_path):
    """Metadata in any order; the library itself orders them anew at each writing."""
    contents = set()
    for turn in range(6):
        names = sorted(METADATA, reverse=bool(turn % 2))
        path = tmp_path / f"{turn}.safetensors"
        write_safetensors(TENSORS, path, {name: METADATA[name] for name in names})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    with safe_open(path, "pt") as stored:
        assert stored.metadata() == METADATA


def test_a_file_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_safetensors(TENSORS, path, METADATA)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        write_safetensors({"a": torch.zeros(9)}, path, METADATA)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_mode_of_a_file_follows_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "a.json", "{}")
        write_safetensors(TENSORS, tmp_path / "b.safetensors", METADATA)
        write_verified(tmp_path / "c.pt", lambda stream: stream.write(b"x"))
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == dict.fromkeys(
        ("a.json", "b.safetensors", "c.pt", "c.sha256"), mode
    )


def test_metrics_and_json_files_are_strict(tmp_path):
    def refuse(name):
        raise AssertionError(name)

    rows = [
        MetricRow("a", "classification", "AUROC", "b", value, 1, "student", 0, "val") for value in (float("nan"), 0.5)
    ]
    write_metrics(tmp_path / "metrics.json", rows)
    stored = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert [row["value"] for row in stored] == [None, 0.5]
    WorkDir(tmp_path).write_json("curves.json", {"a": [float("inf")]})
    assert json.loads((tmp_path / "curves.json").read_text(), parse_constant=refuse) == {"a": [None]}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(name):
    cell = Cell(3, -0.25, None, None)
    rows = [Row(TaskKey(name, Task.CLASSIFICATION), "AUROC", name, (cell,), False, False)]
    (line,) = csv.DictReader(io.StringIO(as_csv(Comparison((name,), "val", 0, rows))))
    assert [line[column] for column in ("dataset", "class", "run")] == [f"'{name}"] * 3
    assert line["value"] == "-0.25", "numbers stay numbers"


TRACED = ("onnx", "torch-export", "onnx-model", "torch-export-model")
"""Formats whose making takes seconds."""

EXPORTS = [pytest.param(name, marks=pytest.mark.slow if name in TRACED else ()) for name in FORMATS.names()]


@pytest.fixture(scope="module")
def tiny():
    config = load_config(Path(__file__).parents[1] / "helpers" / "tiny_config.py")
    torch.manual_seed(0)
    heads = {TaskKey("films", task): ("mass",) for task in (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)}
    return FoundationModel(config.model, heads).eval(), config


def source(tiny, kind):
    """The backbone, or the heads that the format takes."""
    model, config = tiny
    heads = [key for key in model.classes if kind.whole and kind.library in ("", task_of(key.task).library)]
    return Source(model, config, "teacher", tuple(heads))


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_is_atomic_repeatable_and_names_no_path_of_this_machine(tiny, name, tmp_path):
    if name.startswith("onnx"):
        pytest.importorskip("onnxscript")
    kind = FORMATS.get(name, "test")
    written = []
    for turn in ("one", "two"):
        kind.write(source(tiny, kind), tmp_path / turn / f"backbone{kind.suffix}")
        files = sorted(path for path in (tmp_path / turn).rglob("*") if path.is_file())
        assert not [path for path in files if path.name.endswith(".partial")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
        written.append({path.relative_to(tmp_path / turn): path.read_bytes() for path in files})
    assert written[0] == written[1]
    packages = os.path.dirname(os.path.dirname(torch.__file__)).encode()
    for content in written[0].values():
        assert packages not in content and str(tmp_path).encode() not in content


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_that_fails_half_way_leaves_the_older_one(tiny, name, tmp_path, monkeypatch):
    if name.startswith("onnx"):
        pytest.importorskip("onnxscript")
    kind = FORMATS.get(name, "test")
    path = tmp_path / f"backbone{kind.suffix}"
    folders = {"huggingface": "model.safetensors", "timm": "model.safetensors"}
    folders |= {"mmdet-detector": "model.pth", "mmseg-segmentor": "model.pth"}
    file = path / folders[name] if name in folders else path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        kind.write(source(tiny, kind), path)
    assert file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1
