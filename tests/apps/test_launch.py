"""Engines of others around the unchanged command: Ray Train with two workers, submitit on this machine."""

import subprocess
import sys
import time
import types
from pathlib import Path

import psutil
import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.launch import ray_train
from foundationx.core.errors import ConfigError
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.phantoms.write import write_phantom_datasets

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"
SHORT = ["schedule.cycles=1", "schedule.max_steps=2", "evaluate.every=0", "evaluate.final=[val]"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=64, processes=1)
    return folder


def words_of(phantoms, folder):
    return [str(CONFIG), "--data-root", str(phantoms), "--work-dir", str(folder), "--cfg-options", *SHORT]


@pytest.mark.slow
def test_two_workers_of_ray_train_one_run(phantoms, tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install -e .[ray]")
    command = [sys.executable, "-m", "foundationx.apps.launch.ray_train", "--workers", "2", "--restarts", "0", "--here"]
    command += ["--storage", str(tmp_path / "ray"), "--", *words_of(phantoms, tmp_path / "run")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    plan = WorkDir(tmp_path / "run").read_json("plan.json")
    assert load_checkpoint(tmp_path / "run").step == plan["total_steps"]
    assert WorkDir(tmp_path / "run").read_metrics() and (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_a_job_of_submitit_that_is_killed_goes_on_when_it_is_submitted_again(phantoms, tmp_path):
    """The same command both times; the weights are those of a run that nobody has disturbed."""
    submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install -e .[submitit]")
    executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
    executor.update_parameters(timeout_min=15)
    words = [*words_of(phantoms, tmp_path / "run"), "runtime.checkpoint_every=2"]
    command = [sys.executable, "-m", "foundationx.apps.cli.main", "train", *words]
    first = executor.submit(submitit.helpers.CommandFunction(command, verbose=False))
    log = tmp_path / "run" / "log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= 4):
        assert first.state not in ("FINISHED", "FAILED"), first.stderr()
        time.sleep(0.02)
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path / "run") in (process.info["cmdline"] or ()):
            process.kill()
    assert first.exception() is not None and not (tmp_path / "run" / "backbone_teacher.safetensors").exists()
    second = executor.submit(submitit.helpers.CommandFunction(command, verbose=False))
    assert "report" in second.result()
    assert main(["train", *words_of(phantoms, tmp_path / "undisturbed")]) == 0
    one, other = load_checkpoint(tmp_path / "run"), load_checkpoint(tmp_path / "undisturbed")
    assert one.step == other.step == WorkDir(tmp_path / "run").read_json("plan.json")["total_steps"]
    for weights in ("student", "teacher"):
        stored, undisturbed = getattr(one, weights), getattr(other, weights)
        assert all(torch.equal(stored[name], undisturbed[name]) for name in undisturbed)


def test_a_worker_that_fails_says_so(monkeypatch):
    calls = []
    monkeypatch.setattr("foundationx.apps.cli.main.main", lambda words: calls.append(words) or 2)
    with pytest.raises(RuntimeError, match="code 2"):
        ray_train.run_command(["x", "--data-root", "d"])
    assert calls == [["train", "x", "--data-root", "d"]]


def test_ray_is_started_again_where_its_node_is_late(monkeypatch):
    calls, stopped = [], []

    def init(**options):
        calls.append(options)
        if len(calls) < 3:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init, shutdown=lambda: stopped.append(1)))
    ray_train.start_here(2)
    assert [call["num_cpus"] for call in calls] == [3] * 3 and len(stopped) == 2
    calls.clear()
    monkeypatch.setattr(ray_train, "ATTEMPTS", 2)
    with pytest.raises(RuntimeError, match="in 2 attempts"):
        ray_train.start_here(2)


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    for name in ("ray", "ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        ray_train.launch(["x"], 2, gpus=False, restarts=0, storage=tmp_path)
    assert "'.[ray]'" in caught.value.fix
