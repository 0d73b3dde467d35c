"""The doctor: what it finds, what it says, and its exit code."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from foundationx.apps.cli.main import main
from foundationx.apps.run import doctor
from foundationx.apps.run.doctor import Level, Timing, examine_machine, package_faults, plan_seconds, trial_plan
from foundationx.apps.run.precision import bf16_gain
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.phantoms.write import write_phantom_datasets

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
LABELS, BOXES = TaskKey("images", Task.CLASSIFICATION), TaskKey("images", Task.DETECTION)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


def examine(phantoms, folder, capsys, *changes):
    """Exit code, and the lines printed by topic."""
    arguments = ["doctor", str(CONFIG), "--data-root", str(phantoms), "--work-dir", str(folder)]
    code = main([*arguments, *(["--cfg-options", *changes] if changes else [])])
    lines = capsys.readouterr().out.splitlines()
    return code, lines


def test_a_sound_configuration(phantoms, tmp_path, capsys):
    """Every head's phases are tried; nothing is left behind."""
    code, lines = examine(phantoms, tmp_path / "run", capsys)
    assert code == 0 and lines[-1].endswith("0 fail")
    for head in ("phantom_labels/classification", "phantom_boxes/detection", "phantom_masks/segmentation"):
        tried = [line for line in lines if f" {head} release" in line]
        assert len(tried) == 1 and " s computing, " in tried[0] and "loss " in tried[0]
    topics = {line.split()[1] for line in lines}
    assert {"versions", "packages", "cores", "bf16", "disk", "plan", "time", "memory", "checkpoints"} <= topics
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("gain", "advice"), [(1.7, "runtime.precision=bf16 saves time"), (0.8, "fp32 is as good")])
def test_bf16_is_recommended_where_it_is_faster(monkeypatch, gain, advice):
    monkeypatch.setattr("foundationx.apps.run.doctor.pick_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr("foundationx.apps.run.doctor.bf16_gain", lambda device: gain)
    found = next(check.found for check in examine_machine(Path()) if check.topic == "bf16")
    assert f"{gain:.2f} times" in found and advice in found


def test_a_gain_is_the_ratio_of_two_times(monkeypatch):
    """Steps in fp32 take 3 s, those in bf16 2 s, by the clock of the process."""
    clock = itertools.chain.from_iterable(itertools.repeat([0.0, 3.0, 3.0, 5.0]))
    monkeypatch.setattr("foundationx.apps.run.precision._now", lambda device: next(clock))
    assert bf16_gain(torch.device("cpu"), runs=2) == 1.5


def test_the_machine_alone(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warn") for line in lines[:-1])
    assert ("warn" in next(line for line in lines if "devices" in line)) != torch.cuda.is_available()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.backbone.type=mmdet.SwinTransfromer", "did you mean"),
        ("runtime.device=cuda:99", "runtime.device"),
        ("schedule.type=circular", "no schedule is called 'circular'"),
    ],
)
def test_what_the_configuration_has_wrong_is_a_line(phantoms, tmp_path, capsys, change, told):
    code, lines = examine(phantoms, tmp_path, capsys, change)
    failed = [line for line in lines if line.startswith("fail")]
    assert code == 2 and len(failed) == 1 and told in failed[0]


def test_an_unreadable_image_is_a_line(phantoms, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    for path in (data / "phantom_boxes" / "images").glob("*.png"):
        path.write_bytes(path.read_bytes()[:300])
    code, lines = examine(data, tmp_path, capsys)
    failed = [line for line in lines if line.startswith("fail")]
    assert code == 2 and "phantom_boxes/detection" in failed[0] and ".png" in failed[0]


def test_numbers_that_are_none_are_a_line(phantoms, tmp_path, capsys):
    code, lines = examine(phantoms, tmp_path, capsys, "optimizer.lr=1e30", "optimizer.clip_norm=1e30")
    assert code == 2 and any("without a finite loss" in line or "is not finite" in line for line in lines)


def test_a_disk_too_small_for_checkpoints(phantoms, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * 10**6))
    code, lines = examine(phantoms, tmp_path, capsys)
    assert code == 2
    assert any(line.startswith("fail") and "checkpoints" in line for line in lines)
    assert any(line.startswith("warn") and "disk" in line for line in lines)


def test_packages_that_are_missing_or_too_old():
    needed = [Requirement(text) for text in ("torch>=1.0", "torch>=99", "no-such-package-of-ours>=2")]
    old, missing = package_faults(needed)
    assert old.level is missing.level is Level.FAIL
    assert old.found == f"version {torch.__version__.split()[0]}" and old.fix == "pip install 'torch>=99'"
    assert missing.topic == "no-such-package-of-ours" and missing.found == "is not installed"


def phases():
    """Two cycles: labels lock 3 and release 5 steps, boxes release 7 steps."""
    result, first = [], 0
    for cycle in (1, 2):
        for key, name, steps in ((LABELS, "lock", 3), (LABELS, "release", 5), (BOXES, "release", 7)):
            result.append(Phase(PhaseName(name), key, 1, cycle, first, steps, (), 0.0, None, True, True))
            first += steps
    return Plan(tuple(result))


def test_the_trial_has_every_phase_once():
    trial = trial_plan(phases())
    assert [(str(p.key), p.name.value, p.first_step, p.steps) for p in trial.phases] == [
        ("images/classification", "lock", 0, 2),
        ("images/classification", "release", 2, 2),
        ("images/detection", "release", 4, 2),
    ]


def test_time_of_a_plan_by_hand():
    timings = {
        (LABELS, PhaseName.LOCK): Timing(computing=0.5, reading=2.0),
        (LABELS, PhaseName.RELEASE): Timing(computing=1.0, reading=2.0),
        (BOXES, PhaseName.RELEASE): Timing(computing=3.0, reading=2.0),
    }
    assert plan_seconds(phases(), timings, workers=0) == 2 * (3 * 2.5 + 5 * 3.0 + 7 * 5.0)
    assert plan_seconds(phases(), timings, workers=4) == 2 * (3 * 0.5 + 5 * 1.0 + 7 * 3.0)
    assert plan_seconds(phases(), timings, workers=1) == 2 * (3 * 2.0 + 5 * 2.0 + 7 * 3.0)
