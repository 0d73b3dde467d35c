"""Files that are written: same bytes for same content, complete or absent, mode by umask, strict JSON, safe cells."""

import csv
import io
import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from foundationx.core.errors import DiskError
from foundationx.core.types import MetricRow, Task, TaskKey
from foundationx.core.workdir import WorkDir, write_atomically, write_metrics
from foundationx.engine.atomic_write import write_verified
from foundationx.evaluation.compare.compare import Cell, Comparison, Row
from foundationx.evaluation.compare.table import as_csv
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
