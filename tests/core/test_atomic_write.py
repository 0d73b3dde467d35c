"""Everything is written by one module: complete or absent, mode by umask, harmless cells, strict JSON, same bytes."""

import ast
import csv
import io
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from foundationx.core.atomic_write import (
    as_written,
    csv_text,
    harmless,
    replacing,
    require_file,
    require_folder,
    write_arrays,
    write_atomically,
    write_csv,
    write_json,
    write_json_lines,
)
from foundationx.core.errors import DiskError

PACKAGE = Path(__file__).resolve().parents[2] / "foundationx"

WRITERS = {
    "write_text",
    "write_bytes",
    "touch",
    "imwrite",
    "dump",
    "dumps",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "to_csv",
    "to_json",
    "writer",
    "DictWriter",
    "save",
    "save_as",
    "save_file",
    "savefig",
    "copyfile",
    "copy2",
    "mkstemp",
    "NamedTemporaryFile",
}
"""Functions and methods that write files or make texts of JSON and CSV."""

ELSEWHERE = {
    "core/strict_json.py": {"dumps"},  # the only place that makes JSON
    "core/workdir.py": {"open"},  # the lock of a run, which holds nothing
    "engine/logs.py": {"open"},  # rows are appended; an incomplete last one is passed over
    "evaluation/recorder.py": {"open"},  # temporary arrays of an evaluation
    "data/cache/store.py": {"open", "touch"},  # appended to; bytes without record do not count
    "weights/safetensors_file.py": {"dumps", "save"},  # a header in the library's own notation; gives bytes
    "weights/exports/_openmmlab.py": {"save"},  # into memory
    "weights/exports/onnx.py": {"save"},  # into the file of `replacing`
    "weights/exports/torch_export.py": {"save", "open"},  # likewise
    "weights/exports/torch_export_model.py": {"save", "open"},  # likewise
    "apps/run/prediction_folder.py": {"open"},  # likewise
    "apps/run/dicom_results.py": {"save_as"},  # into memory
    "apps/federation/flare.py": {"dumps", "save"},  # a message to a site; asks the coordinator for its checkpoint
    "evaluation/report/anatomy.py": {"savefig"},  # likewise
    "evaluation/report/pictures.py": {"save"},  # into memory
    "apps/portal/jobs.py": {"open"},  # what a command prints is appended to
    "curation/audit/report.py": {"save"},  # into the file of `replacing`
    "datasets/fusion/annotation_files.py": {"open"},  # likewise, row by row
    "phantoms/files.py": {"save", "save_as"},  # into memory
    "phantoms/copy_writer.py": {"writer"},  # tables of published layouts, whose delimiters differ
    "engine/checkpoint.py": {"save"},  # into the stream of `write_verified`
    "engine/trainer.py": {"save"},  # asks for a checkpoint
    "apps/cli/command_config.py": {"dumps"},  # for the terminal
}
"""Files that call a writer themselves, and why."""


def calls_of_writers(path):
    """Names of the functions called in a file that write: those of WRITERS, and ``open`` for writing."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "to_json" and isinstance(node.func, ast.Name):
            continue  # ours
        if name in WRITERS or (name in ("open", "fdopen") and opens_for_writing(node)):
            yield name


def opens_for_writing(call):
    """Whether an argument is a mode such as ``"wb"``."""
    given = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
    texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


def test_files_are_written_by_one_module():
    found = {str(path.relative_to(PACKAGE)): set(calls_of_writers(path)) for path in PACKAGE.rglob("*.py")}
    assert found.pop("core/atomic_write.py")
    others = {name: calls for name, calls in found.items() if calls}
    assert others == ELSEWHERE, "write with foundationx.core.atomic_write"


def test_the_walk_sees_writers(tmp_path):
    source = 'open(a, "w"); open(b, mode="ab"); p.open("xb"); p.write_text(t); json.dumps(x); open(c); open(d, "rb")'
    (tmp_path / "a.py").write_text(source)
    assert sorted(calls_of_writers(tmp_path / "a.py")) == ["dumps", "open", "open", "open", "write_text"]


def write_all(folder):
    """Writes a file in every way; gives their paths."""
    write_atomically(folder / "a.txt", "ü")
    write_json(folder / "b.json", {"a": math.nan})
    write_json_lines(folder / "c.jsonl", [{"a": math.inf}, 1])
    write_csv(folder / "d.csv", ("a", "b"), [("=1", -1.5)])
    write_arrays(folder / "e.npz", {"a": np.arange(3)})
    with replacing(folder / "f.bin") as partial:
        partial.write_bytes(b"f")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        files = write_all(tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode} and len(files) == 6


def test_the_same_content_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = write_all(tmp_path / "one"), write_all(tmp_path / "two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


FAILURES = ("fsync", "replace")


@pytest.mark.parametrize("call", FAILURES)
def test_a_disk_that_takes_nothing_leaves_the_older_file(call, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskError, match="No space left") as refused:
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path] and refused.value.fix


def test_an_exception_while_writing_leaves_the_older_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="Object"):
        write_arrays(tmp_path / "b.npz", {"a": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == [path]


def places(folder):
    """Paths that cannot be written, as files and as folders."""
    (folder / "file").write_text("mine")
    (folder / "loop").symlink_to(folder / "loop")
    return {
        "below a file": folder / "file" / "x" / "y",
        "in /proc": Path("/proc/x/y"),
        "a long name": folder / ("x" * 300),
        "a long path": folder / "/".join(["x" * 100] * 2000),
        "below a link to itself": folder / "loop" / "x",
        "a null byte": folder / "a\0b",
    }


@pytest.mark.parametrize("place", ["below a file", "in /proc", "a long name", "a long path", "below a link to itself"])
@pytest.mark.parametrize("write", [require_file, require_folder, lambda path: write_atomically(path / "x", "x")])
def test_what_cannot_be_written_is_a_clear_error(place, write, tmp_path):
    with pytest.raises(DiskError) as refused:
        write(places(tmp_path)[place])
    assert "cannot be written" in refused.value.found and refused.value.fix
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_place_of_a_file_and_a_file_in_that_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DiskError, match="is a folder"):
        require_file(tmp_path)
    with pytest.raises(DiskError, match="cannot be written"):
        require_folder(tmp_path / "file")
    require_file(tmp_path / "a" / "b.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "nothing is left of the trial"


CELLS = ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "'=1", "''=1", "'x", "x", "", "'", "=", "-", "a=1"]


@pytest.mark.parametrize("text", CELLS)
def test_a_harmless_cell_can_be_read_back(text):
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r")) and as_written(harmless(text)) == text


def test_numbers_in_tables_stay_numbers():
    text = csv_text(("=a", "b"), [{"=a": "=1+1", "b": -2.5}, ["+x", -3], [None, "ok"]])
    assert list(csv.reader(io.StringIO(text))) == [["'=a", "b"], ["'=1+1", "-2.5"], ["'+x", "-3"], ["", "ok"]]


def test_json_is_strict_and_names_that_are_no_utf8_can_be_written(tmp_path):
    name = os.fsdecode(b"\xff.png")
    write_json(tmp_path / "a.json", {name: [math.nan, math.inf]}, ascii_only=False)
    assert json.loads((tmp_path / "a.json").read_bytes().decode()) == {name: [None, None]}
    write_csv(tmp_path / "a.csv", ("image",), [(name,)])
    assert (tmp_path / "a.csv").read_bytes() == b"image\n\\udcff.png\n"
