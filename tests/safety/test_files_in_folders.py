"""Predictions, examples, run folders, cards and checkpoints of others: objects, scripts, tags, programs, headers."""

import json
import os
import pickle
import re
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import foundationx
from foundationx import load
from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError, DataError, FoundationXError
from foundationx.core.run_files import NAMES
from foundationx.core.types import TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.card import load_card
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.evaluation.predictions import read_predictions
from foundationx.evaluation.report import write_report
from tests.helpers.predicted import labelled
from tests.helpers.run_folders import log_row, write_run


class Evil:
    """Unpickling one writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"/usr/bin/touch {self.mark}",)


def evil_archive(path, mark):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, format=np.array(2), classes=np.array([Evil(mark)], dtype=object), model=np.array("a"))


def test_objects_pickled_in_predictions_are_not_read(tmp_path):
    evil_archive(tmp_path / "a.npz", tmp_path / "mark")
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(tmp_path / "a.npz")
    assert not (tmp_path / "mark").exists()


def test_objects_pickled_in_examples_are_not_read(tmp_path):
    evil_archive(tmp_path / "examples" / "a.classification.npz", tmp_path / "mark")
    assert WorkDir(tmp_path).read_examples() == {} and not (tmp_path / "mark").exists()


SCRIPTS = (  # one per way into a page
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_in_a_run_folder_of_others_are_text_in_its_report(script, tmp_path):
    """Every text of every file is the script, at all places where a text may be free; a dataset's name has no slash."""
    head = {"dataset": script.replace("/", ""), "task": "classification"}
    phases = [{"name": script, "first_step": 0, "steps": 2}]
    row = head | {"metric": script, "class": script, "value": 0.5, "n": 1, "model": script, "visit": 1, "split": "val"}
    run = {
        "name": script,
        "started": "2026-01-01T00:00:00",
        "finished": "2026-01-02T00:00:00",
        "version": script,
        "device": script,
    }
    run |= {"started": "2026-01-01T00:00:00", "finished": "2026-01-02T00:00:00"}
    counts = [{"name": script, "positive": 1, "negative": 1}]
    bad = head | {"file": script, "row": script, "reason": script}
    contents = {
        "run.json": run | {"parameters": {script: 1}, "config_file": script},
        "plan.json": {"visits": [{"index": 1, "cycle": 1} | head | {"phases": phases}], "total_steps": 2},
        "metrics.json": [row],
        "datasets.json": [head | {"split": "train", "images": 1, "patients": 1, "classes": counts}],
        "splits.json": {script: "train"},
        "bad_samples.json": [bad],
        "config.json": {script: script},
        "anatomy.json": {"title": script, "notes": [script], "rows": [{script: script}]},
    }
    for name, content in contents.items():
        assert name in NAMES
        (tmp_path / name).write_text(json.dumps(content))
    incident = {"step": 1, "kind": script, "message": script, "images": [script]} | head
    (tmp_path / "incidents.jsonl").write_text(json.dumps(incident) + "\n")
    assert not WorkDir(tmp_path).faults(), "everything is shown"
    page = write_report(tmp_path).read_text()
    assert script not in page or "<" not in script
    assert "href='javascript" not in page and 'href="javascript' not in page and 'src="javascript' not in page


CARDS = {
    "python object": "name: !!python/object/apply:os.system ['touch MARK']\n",
    "python name": "title: !!python/name:os.system\n",
    "own tag": "title: !include /etc/passwd\n",
    "a key twice": "name: a\nname: b\n",
    "merge of itself": "a: &a\n  <<: *a\n",
    "bomb of aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"b{i}: &b{i} [{', '.join(['*' + ('a' if i == 0 else f'b{i - 1}')] * 9)}]\n" for i in range(9)),
    "deep": "a: " + "[" * 5000 + "\n",
    "a huge number": "a: " + "9" * 10_000 + "\n",
}


@pytest.mark.parametrize("text", CARDS.values(), ids=CARDS)
def test_a_card_calls_nothing_and_stays_small(text, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text.replace("MARK", str(tmp_path / "mark")))
    with pytest.raises(CardError):
        load_card(path)
    assert not (tmp_path / "mark").exists()


class Program(torch.nn.Module):
    """A compiled network."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + 1


def test_a_compiled_program_is_no_checkpoint(tmp_path):
    path = tmp_path / "step_00000001.pt"
    torch.jit.script(Program()).save(str(path))
    with pytest.raises(FoundationXError, match="fix: "):
        load_checkpoint(path)


HEADERS = {
    "longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "empty": struct.pack("<Q", 0),
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "offsets beyond the file": None,
    "negative": None,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_safetensors_that_lies_is_refused(name, tmp_path):
    content = HEADERS[name]
    if content is None:
        shape = [-1] if name == "negative" else [2**40]
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 2**42]}}).encode()
        content = struct.pack("<Q", len(header)) + header + b"\0" * 8
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(content)
    with pytest.raises(FoundationXError, match="fix: "):
        load(path, device="cpu")


def test_the_environment_does_not_reach_files_of_others(tmp_path, monkeypatch):
    """A name such as ``$HOME`` in a file is that name."""
    monkeypatch.setenv("FX_SECRET", "secret")
    (tmp_path / "run.json").write_text(
        json.dumps(
            {"name": "$FX_SECRET {{$FX_SECRET:x}} ~", "started": None, "finished": None, "version": "0"}
            | {"device": "${FX_SECRET}", "parameters": {}}
        )
    )
    assert "secret" not in write_report(tmp_path).read_text()


def example_arrays(task):
    """The arrays of one good example of two classes, and the pictures' side is 8."""
    common = {"image": np.zeros((8, 8), np.uint8), "labels": np.array([1, np.nan], np.float32)}
    boxes = np.array([[1, 1, 3, 3]], np.float32)
    points = np.array([[1, 1], [np.nan, np.nan]], np.float32)
    known, chances = np.array([1, np.nan], np.float32), np.array([0.9, 0.2], np.float32)
    own = {
        "classification": {"probabilities": chances},
        "detection": {
            "boxes": boxes,
            "box_classes": np.array([0]),
            "pred_boxes": boxes,
            "pred_classes": np.array([1]),
            "pred_scores": chances[:1],
        },
        "keypoints": {"points": points, "visible": known, "pred_points": points[[0, 0]], "visibilities": chances},
        "segmentation": {"masks": np.zeros((2, 8, 8), np.uint8), "pred_masks": np.ones((2, 8, 8), np.uint8)},
    }
    return common | own[task]


def keep(folder, task, arrays, **more):
    path = folder / "examples" / f"phantom_labels.{task}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {"classes": np.array(["Lung/apex", "<script>alert(1)</script>/base"]), "model": np.array("teacher")}
    named = {"0.name": "a.png"} | {f"0.{name}": value for name, value in arrays.items()}
    np.savez(path, **named | described | more)


WRONG = {
    "a number": np.float32(1),
    "text": np.array(["a", "b"]),
    "four dimensions": np.zeros((2, 3, 4, 5), np.float32),
    "complex": np.array([[1 + 2j]]),
    "dates": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    "infinite": np.full((2, 2), -np.inf, np.float32),
    "far away": np.full((1, 4), 1e30, np.float32),
    "many": np.full((300_000, 2), 9, np.int64),
    "no class has this number": np.array([10**18]),
}


@pytest.mark.parametrize("task", ["classification", "detection", "keypoints", "segmentation"])
def test_examples_of_odd_shapes_types_and_values_are_passed_over(task, tmp_path):
    good = example_arrays(task)
    keep(tmp_path, task, good)
    ((_, (_, model, examples)),) = WorkDir(tmp_path).read_examples().items()
    assert (model, len(examples)) == ("teacher", 1)
    page = write_report(tmp_path).read_text()
    assert "a.png" in page and "<script>alert(1)" not in page
    for name in good:
        for wrong in WRONG.values():
            keep(tmp_path, task, good | {name: wrong})
            assert WorkDir(tmp_path).read_examples() == {}, name
    for described in ({"classes": np.array("x")}, {"classes": np.array(["x"])}, {"model": np.array(["a", "b"])}):
        keep(tmp_path, task, good, **described)
        assert WorkDir(tmp_path).read_examples() == {}
    keep(tmp_path, task, good | {"image": np.zeros((0, 8), np.uint8)})
    assert WorkDir(tmp_path).read_examples() == {}
    write_report(tmp_path)


HEAD = {"dataset": "phantom_labels", "task": "classification"}


def private_run(folder):
    """A run folder whose JSON, examples and predictions each leave something in its report that nothing else does."""
    patients = np.array([str(number) for number in range(8)])
    truth = (np.arange(8) % 2).astype(np.float32)[:, None]
    stored = labelled(truth, truth * 0.4 + 0.3, patients)
    replace(stored, key=TaskKey.parse("phantom_labels/classification"), visit=1).write(folder)
    row = HEAD | {"metric": "AUROC", "class": "mean", "value": 1.0, "n": 8, "model": "teacher", "visit": 1}
    write_run(folder, [log_row(1)], metrics=[row | {"split": "test"}])
    keep(folder, "classification", example_arrays("classification"), **{"0.name": "secret_a.png"})
    keep(folder / "filled", "classification", example_arrays("classification"), **{"0.name": "secret_b.png"})
    incident = HEAD | {"step": 1, "kind": "io", "message": "secret_c", "images": []}
    (folder / "incidents.jsonl").write_text(json.dumps(incident) + "\n")
    filled = {"cycle": 1, "precision": 0.9, "limits": [], "rows": []}
    (folder / "filled.json").write_text(json.dumps(filled))
    bad = HEAD | {"file": "secret_d", "row": "", "reason": ""}
    (folder / "bad_samples.json").write_text(json.dumps([bad]))
    return folder


PRIVATE = {
    "examples": "secret_a",
    "examples/phantom_labels.classification.npz": "secret_a",
    "filled": "secret_b",
    "filled/examples": "secret_b",
    "filled/examples/phantom_labels.classification.npz": "secret_b",
    "incidents.jsonl": "secret_c",
    "bad_samples.json": "secret_d",
    "predictions": "Calibration",
    "predictions/phantom_labels": "Calibration",
    "predictions/phantom_labels/classification.test.teacher.npz": "Calibration",
}
"""Files and folders of a run, and what its report shows only if it has read them."""


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    return private_run(tmp_path_factory.mktemp("private") / "run")


@pytest.mark.parametrize("name", PRIVATE)
def test_the_report_shows_nothing_of_its_readers_own_files_through_links(name, private, tmp_path, capsys):
    """Who sends a run folder with a link in it and asks for the report gets nothing of what the link leads to."""
    sent = tmp_path / "sent"
    shutil.copytree(private, sent)
    assert main(["report", str(sent)]) == 0
    assert PRIVATE[name] in (sent / "report.html").read_text() and "note" not in capsys.readouterr().out
    shutil.rmtree(sent / name) if (sent / name).is_dir() else (sent / name).unlink()
    (sent / name).symlink_to(private / name)
    assert main(["report", str(sent)]) == 0
    said = capsys.readouterr().out
    assert f"note: {sent / name} is a link that leads out of the work directory" in said and said.count("note: ") == 1
    page = (sent / "report.html").read_text()
    assert PRIVATE[name] not in page
    assert [text for text in set(PRIVATE.values()) - {PRIVATE[name]} if text not in page] == [], "the rest is shown"


@pytest.mark.parametrize("name", [name for name in PRIVATE if "." in name])
def test_a_pipe_in_a_run_folder_does_not_stop_the_report(name, private, tmp_path, capsys):
    sent = tmp_path / "sent"
    shutil.copytree(private, sent)
    (sent / name).unlink()
    os.mkfifo(sent / name)
    assert main(["report", str(sent)]) == 0
    assert f"note: {sent / name} is no file; passed over" in capsys.readouterr().out


def test_links_inside_a_run_folder_and_to_it_are_followed(private, tmp_path):
    shutil.copytree(private, tmp_path / "disk")
    (tmp_path / "disk" / "examples").rename(tmp_path / "disk" / "kept")
    (tmp_path / "disk" / "examples").symlink_to("kept")
    (tmp_path / "run").symlink_to("disk")
    page = write_report(tmp_path / "run").read_text()
    assert all(text in page for text in PRIVATE.values())


COMMANDS = [
    ["report", "{}"],
    ["eval", "{}", "--data-root", "{}"],
    ["predict", "{}", "{}"],
    ["export", "{}", "--out", "{}/out.safetensors"],
    ["compare", "{}", "{}"],
    ["ledger", "{}", "--alone", "{}"],
    ["train", "quickstart/phantom", "--data-root", "{}", "--work-dir", "{}", "--resume"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_pickles_that_lie_in_a_folder_of_jobs_are_opened_by_no_command(words, tmp_path):
    """As submitit leaves them: what is to be called, and its result. Only submitit reads them, for its own job."""
    submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install -e .[submitit]")
    folder, mark = tmp_path / "jobs", tmp_path / "mark"
    folder.mkdir()
    paths = submitit.core.utils.JobPaths(folder, "7")
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.write_bytes(pickle.dumps(Evil(mark)))
    write_run(folder, [log_row(1)])
    main([word.format(folder) for word in words])
    assert not mark.exists()
    pickle.loads(paths.submitted_pickle.read_bytes())
    assert mark.exists(), "the pickle would have done it"


def test_the_package_calls_neither_submitit_nor_pickle():
    """`docs/cluster.md` starts the command through submitit; nothing of ours unpickles what that keeps."""
    imported = re.compile(r"^\s*(import|from)\s+(pickle|cloudpickle|dill|joblib|shelve|submitit)\b", re.MULTILINE)
    files = list(Path(foundationx.__file__).parent.rglob("*.py"))
    assert len(files) > 300 and [path for path in files if imported.search(path.read_text(encoding="utf-8"))] == []
    assert imported.search("def read():\n    import pickle\n") and imported.search("from submitit import helpers")
