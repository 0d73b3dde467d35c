"""Several processes train as one would: gradients, stops, faults and deaths, over gloo on the CPU."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from foundationx.core.config.load import load_config
from foundationx.core.types import Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.data.loader import PlanSampler, SamplerSegment
from foundationx.phantoms.write import write_phantom_datasets

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests" / "helpers" / "tiny_config.py"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
BRIEF = ("--cfg-options", "evaluate.every=0", "evaluate.final=[]", "evaluate.examples=1")
LIMIT = 240
"""Seconds after which a job has hung; BRIEF leaves out evaluations."""


def launch(ranks, script, *arguments, **options):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.Popen(
        [*command, str(ROOT / script), *map(str, arguments)],
        cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def finish(process):
    """Output and exit code."""
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return output, process.returncode


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_shares_of_a_batch_are_disjoint_and_together_the_batch(ranks):
    key = TaskKey("a", Task.CLASSIFICATION)
    segments, indices = [SamplerSegment(key, 0, 3, 0)], {key: np.arange(5)}  # fewer images than a batch holds
    whole = list(PlanSampler(segments, indices, 7, seed=1))
    shares = [list(PlanSampler(segments, indices, 7, 1, 0, rank, ranks)) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert sorted(ref for part in parts for ref in part) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1 and min(map(len, parts)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("heads", ["default", "unihead", "one_stage", "filled"])
def test_gradients_of_two_ranks_equal_those_of_one_process(tmp_path, heads):
    """Also where one rank's images are unknown throughout, hold no box, or hold no known pixel of a class."""
    process = launch(2, "tests/helpers/ranks_script.py", tmp_path / "two.pt", heads)
    subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / "ranks_script.py"), str(tmp_path / "one.pt"), heads],
        check=True, env=ENVIRONMENT, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    output, code = finish(process)
    assert code == 0, output
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert one.keys() == two.keys() and len(one) > 100
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=2e-6, rtol=1e-3, msg=name)
    counts = [value for value in one.values() if not value.is_floating_point()]
    assert len(counts) == (6 if heads == "filled" else 0)
    assert all(count.sum() > 0 for count in counts)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Fewer images than the job's batch holds."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=64, seed=0)
    return folder


def run_tiny(ranks, phantoms, work, *further, **options):
    return launch(ranks, "tools/train.py", CONFIG, "--data-root", phantoms, "--work-dir", work, *further, **options)


def final_weights(work):
    newest = sorted((work / "checkpoints").glob("step_*.pt"))[-1]
    return newest.name, torch.load(newest, weights_only=True)


def assert_same(one, two, path=""):
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            assert_same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path


@pytest.fixture(scope="module")
def whole_run(phantoms, tmp_path_factory):
    """A run of two ranks that nothing has disturbed."""
    work = tmp_path_factory.mktemp("ranks") / "whole"
    output, code = finish(run_tiny(2, phantoms, work, *BRIEF))
    assert code == 0, output
    return work


@pytest.mark.slow
def test_an_optimizer_sharded_over_ranks_is_the_same_optimizer(phantoms, whole_run, tmp_path):
    """Also its stored state: one process, or ranks that share it otherwise, could go on from it.

    It is stopped on the way and goes on, which changes nothing.
    """
    options = [*BRIEF, "optimizer.sharded=True"]
    stopped = run_tiny(2, phantoms, tmp_path / "sharded", *options, start_new_session=True)
    log = tmp_path / "sharded" / "log.jsonl"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 6, stopped)
    os.kill(ranks_of(stopped)[1], signal.SIGTERM)
    finish(stopped)
    assert not (tmp_path / "sharded" / "backbone_teacher.safetensors").exists()
    output, code = finish(run_tiny(2, phantoms, tmp_path / "sharded", "--resume", *options))
    assert code == 0, output
    name, whole = final_weights(whole_run)
    other, sharded = final_weights(tmp_path / "sharded")
    assert name == other
    for part in ("student", "teacher"):
        assert_same(whole[part], sharded[part], part)
    assert_same(whole["optimizer"]["state"], sharded["optimizer"]["state"], "optimizer")


@pytest.mark.slow
def test_an_optimizer_sharded_over_two_ranks_goes_the_way_of_one_process(phantoms, tmp_path):
    """Without what is drawn per process; plain SGD, whose steps are as large as the gradients, not of equal size."""
    options = [*BRIEF, "schedule.cycles=2", "optimizer.type=sgd", "optimizer.lr=0.1", "runtime.checkpoint_every=1"]
    options += ["model.backbone.drop_path_rate=0.0"]
    config = tmp_path / "labels.py"
    config.write_text(f"_base_ = {str(CONFIG)!r}\ndatasets = [dict(card='phantom_labels')]\n")
    words = ["tools/train.py", config, "--data-root", phantoms, "--work-dir"]
    output, code = finish(launch(2, *words, tmp_path / "two", *options, "optimizer.sharded=True"))
    assert code == 0 and "ZeroRedundancyOptimizer" not in output, output
    alone = [sys.executable, ROOT / words[0], *words[1:]]
    subprocess.run([*alone, tmp_path / "one", *options], check=True, env=ENVIRONMENT, cwd=ROOT, capture_output=True)
    one, two = (final_weights(tmp_path / name)[1]["student"] for name in ("one", "two"))
    first = sorted((tmp_path / "one" / "checkpoints").glob("step_*.pt"))[0]
    before = torch.load(first, weights_only=True)["student"]
    furthest = max(float((one[name] - before[name]).abs().max()) for name in one if one[name].is_floating_point())
    assert furthest > 1e-4, "a step is large beside rounding"
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, atol=1e-3 * furthest, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_nothing_of_a_group_is_left_when_training_ends(phantoms, tmp_path, sharded):
    """Every phase has buckets of its own, as large as its gradients: they end with it, threads with the group."""
    words = [CONFIG, "--data-root", phantoms, "--work-dir", tmp_path, *BRIEF, "schedule.cycles=1"]
    output, code = finish(launch(2, "tests/helpers/ranks_left_script.py", *words, f"optimizer.sharded={sharded}"))
    assert code == 0, output
    for rank in (0, 1):
        assert f"rank {rank}: 0 of 5 exchanges and 0 threads are left" in output, output


@pytest.mark.slow
def test_two_ranks_stopped_by_sigterm_end_bit_identical(phantoms, whole_run, tmp_path):
    stopped = run_tiny(2, phantoms, tmp_path / "stopped", *BRIEF, start_new_session=True)
    log = tmp_path / "stopped" / "log.jsonl"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 8, stopped)
    children = ranks_of(stopped)
    os.kill(children[1], signal.SIGTERM)  # only one of the ranks is asked
    finish(stopped)
    assert not (tmp_path / "stopped" / "backbone_teacher.safetensors").exists()
    output, code = finish(run_tiny(2, phantoms, tmp_path / "stopped", "--resume", *BRIEF))
    assert code == 0, output
    name, whole = final_weights(whole_run)
    other, resumed = final_weights(tmp_path / "stopped")
    assert name == other
    for part in ("student", "teacher", "optimizer"):
        assert_same(whole[part], resumed[part], part)


@pytest.mark.slow
def test_four_ranks_take_the_plan_of_one(phantoms, tmp_path):
    """Batches are divided, so the plan, the steps and the checkpoints are those of any number of processes.

    An evaluation is divided too; of the same weights it gives the same metrics to the last bit.
    """
    options = [*BRIEF, "schedule.cycles=1", "runtime.batch_size=9"]
    output, code = finish(run_tiny(4, phantoms, tmp_path / "four", *options))
    assert code == 0, output
    alone = [sys.executable, ROOT / "tools" / "train.py", CONFIG, "--data-root", phantoms, "--work-dir"]
    subprocess.run([*alone, tmp_path / "one", *options], check=True, env=ENVIRONMENT, cwd=ROOT, capture_output=True)
    assert (tmp_path / "four" / "plan.json").read_text() == (tmp_path / "one" / "plan.json").read_text()
    assert final_weights(tmp_path / "four")[0] == final_weights(tmp_path / "one")[0]
    one, four = ([row for row in WorkDir(tmp_path / name).read_metrics() if row.visit == 0] for name in ("one", "four"))
    assert one == four and len({row.task for row in one}) == 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "four" / "examples").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "one" / "examples").iterdir()
    }


@pytest.mark.slow
def test_a_dead_rank_ends_the_job(phantoms, tmp_path):
    process = run_tiny(2, phantoms, tmp_path / "run", "--cfg-options", "schedule.cycles=50", start_new_session=True)
    log = tmp_path / "run" / "log.jsonl"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 4, process)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    begun = time.monotonic()
    output, code = finish(process)
    assert code != 0 and time.monotonic() - begun < 60
    assert "SIGKILL" in output or "lost another process" in output


@pytest.mark.slow
def test_an_unreadable_image_on_one_rank_ends_all_with_its_name(phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "data")
    data_module = open_datasets(load_config(CONFIG), tmp_path / "data")
    key, table = next(iter(data_module.annotations.items()))
    name = table.images[data_module.indices[key][Split.TRAIN][0]]
    path = data_module.roots[key.dataset] / name
    path.write_bytes(path.read_bytes()[:60])
    output, code = finish(run_tiny(2, tmp_path / "data", tmp_path / "run", *BRIEF))
    assert code != 0
    faults = [part for part in output.split("foundationx: ")[1:] if part.startswith("DataError")]
    assert len(faults) == 2 and all(Path(name).name in fault for fault in faults), output
    assert list((tmp_path / "run" / "checkpoints").glob("step_*.pt")), "what was trained before is kept"


def ranks_of(process):
    """Process ids of a launcher's ranks, by rank."""
    result = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        for entry in environment:
            if entry.startswith(b"RANK="):
                result[int(entry[5:])] = int(pid)
    return result


def wait_for(condition, process):
    begun = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() - begun < LIMIT, "nothing happened"
        time.sleep(0.1)
