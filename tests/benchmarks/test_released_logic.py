"""What the benchmarks call the released logic: equal numbers in evaluation, and a cycle summed as by hand."""

import bench_cycle
import numpy as np
import pytest
from bench_evaluation import check_equal, data_modules, ours
from released_evaluation import evaluate_plainly
from run_all import tables

from foundationx.apps.run.train import build_model
from foundationx.core.types import Split, annotated_tasks
from foundationx.phantoms.write import write_phantom_datasets


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One card with three tasks, and two untrained models of other weights."""
    folder = tmp_path_factory.mktemp("released")
    write_phantom_datasets(folder / "data", {"phantom_all": 14}, size=96, processes=1)
    data_module = data_modules(folder, "tiny", annotated_tasks(), cache=False)
    return data_module, {name: build_model(data_module.config, data_module, "cpu") for name in ("student", "teacher")}


def test_the_plain_evaluation_gives_our_numbers(world):
    check_equal(*world)
    plain = evaluate_plainly(*world, Split.TRAIN)
    assert len(plain) == 2 * len(annotated_tasks())
    assert all(np.isfinite(values).any() for values in plain.values()), "there is something to compare"


def test_other_numbers_are_noticed(world, monkeypatch):
    result = ours(*world)
    monkeypatch.setattr(
        "bench_evaluation.ours", lambda *given: {name: values + 0.01 for name, values in result.items()}
    )
    with pytest.raises(AssertionError):
        check_equal(*world)


def test_a_cycle_is_the_sum_of_its_parts(capsys, monkeypatch):
    """A visit of 4 images: 3 s and 1 s; an image: 0.1 s and 0.05 s; lists: 6 s; reading: 50 ms and 1 ms. A tenth are
    test images."""
    monkeypatch.setattr(bench_cycle, "IMAGES", dict.fromkeys(annotated_tasks(), 40_000))
    monkeypatch.setattr(bench_cycle, "TEST_SHARE", 0.1)
    visits = {task: {"released logic": 3.0, "foundationx": 1.0} for task in annotated_tasks()}
    looks = {task: {"released logic": 0.1, "foundationx": 0.05} for task in annotated_tasks()}
    bench_cycle.whole_cycle(visits, 6.0, looks, {1024: {"released logic": 0.05, "foundationx": 0.001}})
    rows = {row["part"]: (row["released logic, h"], row["foundationx, h"]) for row in tables(capsys.readouterr().out)}
    training = 30_000 * 3 / 3600, 30_000 * 1 / 3600
    evaluation = 20 * 2 * 12_000 * 0.1 / 3600, 2 * 12_000 * 0.05 / 3600
    lists = 20 * 2 * 6 / 3600
    assert rows["training"] == tuple(f"{value:.2f}" for value in training)
    assert rows["evaluation"] == tuple(f"{value:.2f}" for value in evaluation)
    assert rows["weights as lists"] == (f"{lists:.2f}", "0.00")
    without = training[0] + evaluation[0] + lists, training[1] + evaluation[1]
    assert rows["cycle without reading"] == tuple(f"{value:.2f}" for value in without)
    trained_on = 40_000 * (1 + 1.5 + 1.5)  # no lock phase of classification
    reading = (trained_on + 20 * 2 * 12_000) * 0.05 / 3600, (trained_on + 12_000) * 0.001 / 3600
    assert rows["reading images of 1024 x 1024"] == tuple(f"{value:.2f}" for value in reading)
    both = tuple(f"{one + other:.2f}" for one, other in zip(without, reading, strict=True))
    assert rows["cycle, images of 1024 x 1024"] == both
