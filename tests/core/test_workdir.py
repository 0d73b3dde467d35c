"""The files of a run: rows replace their like, torn lines are dropped, examples come back as they were."""

import json
import subprocess
import sys

import numpy as np
import pytest

from foundationx.core import run_files
from foundationx.core.errors import DiskError
from foundationx.core.strict_json import read_json
from foundationx.core.types import MetricRow, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.tasks.detection.prediction import DetectionExample


def row(value, visit=1, class_name="mean"):
    return MetricRow("a", "classification", "AUROC", class_name, value, 5, "teacher", visit, "val")


def test_metric_rows_are_added_and_replaced_by_what_they_are_of(tmp_path):
    work = WorkDir(tmp_path)
    work.add_metrics([row(0.5), row(None, class_name="Nodule")])
    work.add_metrics([row(0.7), row(0.6, visit=2)])
    assert work.read_metrics() == [row(0.7), row(None, class_name="Nodule"), row(0.6, visit=2)]
    assert work.read_json("metrics.json")[0]["class"] == "mean"


def test_faults_are_those_of_the_files_as_they_are_and_no_file_is_read_twice_for_them(tmp_path, monkeypatch):
    work, read = WorkDir(tmp_path), []
    monkeypatch.setattr(run_files, "read_json", lambda text: read.append(text) or read_json(text))
    work.add_metrics([row(0.5)])
    work.incidents.write_text("no JSON\n")
    assert (len(work.read_metrics()), work.read_incidents()) == (1, [])
    read.clear()
    assert work.faults() == {"incidents.jsonl": "1 of 1 lines make no sense"} and read == []
    work.write_json("metrics.json", [{"dataset": "a"}])
    work.incidents.unlink()
    assert work.faults() == {"metrics.json": "1 of 1 entries make no sense"}
    work.metrics.unlink()
    assert work.faults() == {}


def test_a_torn_last_line_of_the_log_is_dropped(tmp_path):
    work = WorkDir(tmp_path)
    assert work.read_log() == []
    rows = [{"step": n, "visit": 1, "dataset": "a", "task": "detection", "losses": {"task": 0.5}} for n in (1, 2)]
    work.log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"st')
    assert work.read_log() == rows


def test_examples_come_back_as_they_were(tmp_path):
    work = WorkDir(tmp_path)
    key = TaskKey("two__parts", Task.DETECTION)
    boxes, other = np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32)
    none = np.zeros(0, np.int64)
    arrays = {"pred_boxes": boxes, "pred_scores": np.zeros(0, np.float32), "pred_classes": none}
    picture, labels = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([1.0, np.nan], np.float32)
    first = DetectionExample(picture, "x.png", labels, boxes=boxes, box_classes=none, **arrays)
    arrays |= {"boxes": other, "box_classes": np.array([1, 0])}
    second = DetectionExample(np.zeros((1, 1), np.uint8), "y.png", np.zeros(2, np.float32), **arrays)
    work.write_examples(key, ("Nodule", "Größe"), "teacher", [first, second])
    classes, model, (one, two) = work.read_examples()[key]
    assert classes == ("Nodule", "Größe") and model == "teacher" and (one.name, two.name) == ("x.png", "y.png")
    np.testing.assert_array_equal(one.image, first.image)
    np.testing.assert_array_equal(one.labels, first.labels)
    assert type(one) is DetectionExample and one.boxes.shape == (0, 4) and two.boxes.tolist() == other.tolist()


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    """The claim of a process that is killed is free at once, though its child lives on."""
    code = (
        "import os, sys, time; from foundationx.core.workdir import WorkDir\n"
        f"with WorkDir({str(tmp_path)!r}).claimed():\n"
        "    if os.fork() == 0: time.sleep(3); os._exit(0)\n"
        "    print('claimed', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"claimed\n"
        with pytest.raises(DiskError, match="another process trains here"), WorkDir(tmp_path).claimed():
            pass
        other.kill()
        other.wait()
        with WorkDir(tmp_path).claimed():
            pass
