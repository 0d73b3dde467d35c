"""Faults planted around a whole run: what the user is told, what stays, and that the resumed run ends the same."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import DataError
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, newest_checkpoint, newest_good_checkpoint
from foundationx.engine.hooks import Hook
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG, Onlooker, equal, tiny_trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--cfg-options", "runtime.checkpoint_every=3", "evaluate.examples=0", "evaluate.final=[]")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


def train(phantoms, folder, *more):
    """``foundationx train``; gives the exit code."""
    return main(["train", str(CONFIG), "--data-root", str(phantoms), "--work-dir", str(folder), *more, *OPTIONS])


@pytest.fixture(scope="module")
def undisturbed(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(phantoms, folder) == 0
    return folder


def assert_same_end(folder, undisturbed, models=("student", "teacher", "trivial", "empty")):
    """Weights, teacher, optimizer, metrics and losses of two finished runs are bit for bit the same."""
    ours, theirs = load_checkpoint(folder), load_checkpoint(undisturbed)
    assert ours.step == theirs.step
    assert equal(ours.student, theirs.student) and equal(ours.teacher, theirs.teacher)
    assert equal(ours.optimizer["state"], theirs.optimizer["state"])
    losses = [[(row["step"], row["losses"]) for row in WorkDir(f).read_log()] for f in (folder, undisturbed)]
    assert losses[0] == losses[1]
    metrics = [[row for row in WorkDir(f).read_metrics() if row.model in models] for f in (folder, undisturbed)]
    assert metrics[0] == metrics[1] and metrics[0]


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for one checkpoint, not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(phantoms, small_disk, undisturbed, capsys):
    """Training goes on to its end, the old checkpoint stays, the error is clear; with more room the run is finished."""
    folder = small_disk / "run"
    assert train(phantoms, folder) == 2
    printed = capsys.readouterr()
    assert "step_00000020.pt: cannot be written: No space left on device" in printed.err
    assert "fix: free disk space" in printed.err and "Traceback" not in printed.err
    assert "step 6: " in printed.out and "training goes on, the next save tries again" in printed.out
    assert [path.name for path in checkpoints_in(folder)] == ["step_00000003.pt"]
    assert load_checkpoint(folder).step == 3 and not list(folder.rglob("*.partial"))
    assert {row["kind"] for row in WorkDir(folder).read_incidents()} == {"io"}
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert train(phantoms, folder, "--resume") == 0
    assert_same_end(folder, undisturbed)


def test_a_torn_checkpoint(phantoms, tmp_path, undisturbed, capsys):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    newest = newest_checkpoint(folder)
    newest.write_bytes(newest.read_bytes()[:-1000])
    used = checkpoints_in(folder)[-2]
    assert train(phantoms, folder, "--resume") == 0
    printed = capsys.readouterr().out
    assert f"{newest.name}: does not have the checksum" in printed
    assert f"step {int(used.stem.removeprefix('step_'))} is used instead" in printed
    assert_same_end(folder, undisturbed)


def test_killed_before_the_first_checkpoint(phantoms, tmp_path, undisturbed, capsys):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    shutil.rmtree(folder / "checkpoints")
    assert train(phantoms, folder, "--resume", "never") == 2, "a used folder is not touched"
    assert train(phantoms, folder) == 0
    assert "holds no checkpoint: the run starts from step 0" in capsys.readouterr().out
    assert_same_end(folder, undisturbed)


def test_an_unreadable_image(phantoms, tmp_path, undisturbed, capsys):
    """The run saves and names the file; when the file is fixed it goes on."""
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(phantoms, data)
    splits = json.loads((undisturbed / "splits.json").read_text())
    images = sorted((data / "phantom_boxes" / "images").glob("*.png"))
    victim = next(p for p in images if splits[f"phantom_boxes:{p.stem.split('_')[0]}"] == "train")
    whole = victim.read_bytes()
    victim.write_bytes(whole[:300])
    assert train(data, folder) == 2
    printed = capsys.readouterr().err
    assert victim.name in printed and "is truncated or damaged" in printed and "Traceback" not in printed
    assert load_checkpoint(folder).step == WorkDir(folder).read_log()[-1]["step"], "nothing is lost"
    victim.write_bytes(whole)
    assert train(data, folder, "--resume") == 0
    # The trivial answers are means over the training images that could be read when the run began.
    assert_same_end(folder, undisturbed, models=("student", "teacher"))


class KillWorkers(Hook):
    """Kills the processes that read data, after a step."""

    def __init__(self, after):
        self.after = after

    def on_step(self, phase, step):
        if step == self.after:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)


def test_a_dead_worker(phantoms, tmp_path):
    options = {"schedule__cycles": 2, "runtime__workers": 1, "runtime__checkpoint_every": 100}
    whole = tiny_trainer(phantoms, tmp_path / "whole", **options)
    assert whole.train()
    trainer = tiny_trainer(phantoms, tmp_path / "torn", [KillWorkers(2)], **options)
    since = time.monotonic()
    with pytest.raises(DataError, match=r"reading of images: a worker process has died(?s:.*)fix: .*same command"):
        trainer.train()
    assert time.monotonic() - since < 30, "it hangs"
    checkpoint, _ = newest_good_checkpoint(tmp_path / "torn")
    assert checkpoint.step == trainer.step >= 2, "what was trained is saved"
    onlooker = Onlooker()
    resumed = tiny_trainer(phantoms, tmp_path / "torn", [onlooker], **options)
    resumed.resume(checkpoint)
    assert resumed.train() and onlooker.records
    assert equal(resumed.model.state_dict(), whole.model.state_dict())


def test_kills_in_four_ways():
    """The short form of the script; it exits with 1 where any run ends otherwise than the undisturbed one."""
    script = ROOT / "benchmarks" / "kill_and_resume.py"
    done = subprocess.run([sys.executable, script, "--kills", "4", "--seed", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| none |" in done.stdout
