"""Two processes on halves of a batch learn from images alone what one process does on the whole batch.

Views are functions of the seed of a sample, not of a rank, so that both see the same. What differs: sums are added up
in another order, and the keys of a batch stand in Adam's queue rank by rank.
"""

import subprocess
import sys

import pytest
import torch

from foundationx.phantoms.write import write_phantom_datasets
from tests.engine.test_ranks import ENVIRONMENT, ROOT, finish, launch
from tests.helpers.selfsup_tiny import OBJECTIVES

SCRIPT = "tests/helpers/ranks_selfsup_script.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one and what two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    write_phantom_datasets(folder / "data", {"phantom_labels": 17}, size=96, processes=1)
    two = launch(2, SCRIPT, folder / "data", folder / "two.pt")
    alone = [sys.executable, str(ROOT / SCRIPT), str(folder / "data"), str(folder / "one.pt")]
    subprocess.run(alone, check=True, env=ENVIRONMENT, cwd=ROOT, capture_output=True)
    output, code = finish(two)
    assert code == 0, output
    return [torch.load(folder / name, weights_only=True) for name in ("one.pt", "two.pt")]


def close(one, two, tolerance, where):
    assert one.keys() == two.keys(), where
    for key, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(two[key], value, atol=tolerance, rtol=10 * tolerance, msg=f"{where} {key}")
        else:
            assert torch.equal(two[key], value), f"{where} {key}"


def sorted_queue(state):
    """The state with the keys of Adam's queue in an order of their own."""
    return {key: value[value[:, 0].argsort()] if key.endswith("queue.keys") else value for key, value in state.items()}


def without_queue(state):
    """The teacher's state; its copy of the queue is a running mean that mixes keys by their place, and is not read."""
    return {key: value for key, value in state.items() if not key.endswith("queue.keys")}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_learn_as_one(runs, name):
    """By SGD: losses of every step, the first gradients, and after all steps weights, teacher, queue and centre."""
    one, two = (run[f"{name}/sgd"] for run in runs)
    assert len(one["losses"]) == len(two["losses"]) >= 6
    assert any("queue.keys" in key or "centre.mean" in key for key in one["student"]) or name == "peac"
    for step, (alone, together) in enumerate(zip(one["losses"], two["losses"], strict=True)):
        for term, loss in alone.items():
            assert together[term] == pytest.approx(loss, rel=1e-4, abs=1e-5), (step, term)
    close(one["gradients"], two["gradients"], 1e-5, "gradient")
    close(sorted_queue(one["student"]), sorted_queue(two["student"]), 1e-5, "student")
    close(without_queue(one["teacher"]), without_queue(two["teacher"]), 1e-5, "teacher")


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_adamw_goes_the_same_way(runs, name):
    """It divides by the size of gradients, however small these are: what is added up in another order grows faster."""
    one, two = (run[f"{name}/adamw"] for run in runs)
    for step, (alone, together) in enumerate(zip(one["losses"], two["losses"], strict=True)):
        assert together["task"] == pytest.approx(alone["task"], rel=1e-3), step
