"""Torch's DistributedDataParallel carries the gradients; beside them a step sends one message, in segmentation two."""

import json
from itertools import pairwise

import pytest

from foundationx.phantoms.write import write_phantom_datasets
from tests.engine.test_ranks import finish, launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    write_phantom_datasets(folder / "data", 14, size=64, seed=0)
    return folder


def counted(folder, *options):
    """Messages of every step of two ranks."""
    options = ["schedule__max_steps=4", "schedule__cycles=1", *options]
    output, code = finish(launch(2, "tests/helpers/exchange_script.py", folder / "data", folder / "out", *options))
    assert code == 0, output
    return json.loads((folder / "out").read_text())


@pytest.fixture(scope="module")
def plain(data):
    return counted(data)


def test_a_step_sends_gradients_and_one_more_message(plain):
    """In segmentation two: Dice is that of all images."""
    for step in plain["steps"]:
        further = sum(step["messages"].values()) - step["gradients"]
        assert further == (2 if step["head"].endswith("segmentation") else 1), step
    kinds = {(step["head"], step["phase"]) for step in plain["steps"]}
    assert len(kinds) == 5 and {head.partition("/")[2] for head, _ in kinds} == {
        "classification",
        "detection",
        "segmentation",
    }


def test_every_step_of_a_phase_sends_the_same_buckets(plain):
    """Three ranks add up a number in an order that its place decides: a run that goes on must find it where it was."""
    steps = plain["steps"]
    pairs = [(one, two) for one, two in pairwise(steps) if not two["first"]]
    assert len({one["head"] for one, _ in pairs}) == 3
    assert all(one["buckets"] == two["buckets"] for one, two in pairs)


def test_a_lock_phase_sends_the_head_alone(plain):
    sent = {(step["head"].partition("/")[2], step["phase"]): step["bytes"] for step in plain["steps"]}
    for task in ("detection", "segmentation"):
        assert sent[task, "lock"] < sent[task, "release"] / 5


def test_ranks_end_with_the_same_weights(plain):
    one, two = plain["digests"]
    assert one == two


def test_accumulated_batches_send_their_gradients_once_and_bf16_sends_half(data):
    """The last bucket of a phase stays in 32 bits; this network has no more than that."""
    result = counted(data, "optimizer__accumulate=2", "runtime__gradients=bf16")
    releases = [step for step in result["steps"] if step["phase"] == "release"]
    assert [step["gradients"] > 0 for step in releases[:4]] == [False, True, False, True]
    assert result["digests"][0] == result["digests"][1]
