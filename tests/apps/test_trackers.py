"""Trackers: the real libraries hold every step once, also after a kill; one that fails does not end a run."""

import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from foundationx.apps.trackers import TRACKERS
from foundationx.apps.trackers.base import RETRY_SECONDS, Tracker, flat
from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.workdir import WorkDir
from tests.helpers.tracker_script import KEY, LENGTH, metrics, plan_of_visits

SCRIPT = Path(__file__).parents[1] / "helpers" / "tracker_script.py"
CONFIG = SCRIPT.with_name("tiny_config.py")
LOSS, VALIDATION = f"{KEY}/task", f"val/{KEY}/AUROC/teacher"
NEEDED = {"tensorboard": ["tensorboard"], "mlflow": ["mlflow", "alembic"], "wandb": ["wandb"], "trackio": ["trackio"]}
OLDER_PILLOW = "; it wants an older pillow than requirements/constraints.txt, so it needs an environment of its own"
"""Why the pinned environment leaves trackio out."""


def follow(name, folder, *arguments, expected=0):
    """Runs the script; settings of the libraries that this machine may have are left out."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "WANDB_", "TRACKIO_"))}
    command = [sys.executable, str(SCRIPT), name, str(folder), *map(str, arguments)]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert ended.returncode == expected, ended.stderr
    return ended.stdout


def tensorboard_points(folder):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in sorted(
        (folder / "tensorboard").iterdir()
    ):  # every point of every file, not what a reader makes of them
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield value.tag, event.step, value.tensor.float_val[0]


def mlflow_points(folder):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = (row for row in client.search_experiments() if row.name == "foundationx")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["optimizer.lr"] and run.info.status == "FINISHED"
    for key in run.data.metrics:
        for row in client.get_metric_history(run.info.run_id, key):
            yield key, row.step, row.value


def wandb_points(folder):
    from wandb.proto import wandb_internal_pb2

    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    for content in leveldb_records(path.read_bytes()[7:], 7):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            yield from ((name, row["_step"], value) for name, value in row.items() if not name.startswith("_"))


def leveldb_records(data, offset):
    """Records of a log in LevelDB's format: blocks of 32 KiB, chunks with checksum, length and kind."""
    position, parts = 0, b""
    while position + 7 <= len(data):
        left = 32768 - (position + offset) % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def trackio_points(folder):
    import sqlite3

    (path,) = (folder / "trackio").glob("*.db")
    rows = sqlite3.connect(path).execute("select step, metrics from metrics").fetchall()
    for step, content in rows:
        yield from ((name, step, value) for name, value in json.loads(content).items())


REASONS = {"trackio": OLDER_PILLOW}
POINTS = {"tensorboard": tensorboard_points, "mlflow": mlflow_points, "wandb": wandb_points, "trackio": trackio_points}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(POINTS))
def test_every_step_stands_once_after_a_kill(tmp_path, name):
    """Killed after step 11; the run goes on from its checkpoint of step 6."""
    for package in NEEDED[name]:
        pytest.importorskip(
            package, reason=f"{package} is not installed: pip install -e .[{name}]{REASONS.get(name, '')}"
        )
    folder = tmp_path / "run"
    follow(name, folder, 0, 11, "kill", expected=9)
    assert "0 incidents" in follow(name, folder, 6, 16)
    points = list(POINTS[name](folder))
    assert Counter(step for tag, step, _ in points if tag == LOSS) == Counter(range(1, 17))
    assert {step: round(value, 4) for tag, step, value in points if tag == VALIDATION} == {
        step: step / 100 for step in range(LENGTH, 17, LENGTH)
    }
    assert not [pair for pair, count in Counter((tag, step) for tag, step, _ in points).items() if count > 1]
    assert not any("AUPRC" in tag or "mass" in tag for tag, _, _ in points)
    losses = {step: value for tag, step, value in points if tag == LOSS}
    assert losses == pytest.approx({step: 1 / step for step in range(1, 17)}, rel=1e-5)


def test_all_four_are_found_and_an_unknown_one_is_refused(tmp_path):
    assert set(POINTS) <= set(TRACKERS.names())
    with pytest.raises(ConfigError, match="did you mean 'wandb'"):
        TRACKERS.get("wandp", "runtime.trackers")


class Unreachable(Tracker):
    """A tracker whose server comes back after some attempts."""

    extra = "nothing"
    failures = 3

    def load(self):
        self.attempts, self.rows = 0, []

    def open(self):
        self.attempts += 1
        if self.attempts <= self.failures:
            raise ConnectionError("no route to host")
        return {(LOSS, 1)}

    def add(self, values, step):
        self.rows.append((step, sorted(values)))

    def close(self):
        self.rows.append("closed")


def test_a_tracker_that_cannot_be_reached_is_named_once_and_given_the_rows_later(tmp_path, monkeypatch):
    clock, incidents = [0.0], []
    monkeypatch.setattr("foundationx.apps.trackers.base.time.monotonic", lambda: clock[0])
    tracker = Unreachable(load_config(CONFIG), WorkDir(tmp_path), incidents.append)
    tracker.on_start(plan_of_visits(), 0)
    tracker.on_evaluation(metrics(4), 4)
    assert tracker.attempts == 1, "a second attempt waits"
    for _ in range(2):
        clock[0] += RETRY_SECONDS
        tracker.on_evaluation(metrics(8), 8)
    assert tracker.attempts == 3 and len(incidents) == 1 and "no route to host" in str(incidents[0])
    assert not tracker.rows
    tracker.finish()
    assert tracker.rows == [(4, [VALIDATION]), (8, [VALIDATION]), "closed"]


def test_what_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    for packages in NEEDED.values():
        monkeypatch.setitem(sys.modules, packages[-1], None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for name in POINTS:
        with pytest.raises(ConfigError) as caught:
            TRACKERS.get(name)(load_config(CONFIG), WorkDir(tmp_path), print)
        assert f"'.[{name}]'" in caught.value.fix and "foundationx-cxr" in caught.value.fix


def test_a_configuration_becomes_parameters_of_one_level():
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
