"""What the benchmarks call the released logic: equal numbers in evaluation, and a cycle summed as by hand."""

import bench_cycle
import numpy as np
import pytest
import small_world
import torch
from bench_evaluation import check_equal, data_modules, ours
from gpu_readiness import SIZES
from released_evaluation import evaluate_plainly
from run_all import tables

from foundationx.apps.run.train import build_model
from foundationx.core.types import Split
from foundationx.phantoms.write import write_phantom_datasets


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One card with three tasks, and two untrained models of other weights."""
    folder = tmp_path_factory.mktemp("released")
    write_phantom_datasets(folder / "data", {"phantom_all": 14}, size=96, processes=1)
    data_module = data_modules(folder, "tiny", small_world.TASKS, cache=False)
    return data_module, {name: build_model(data_module.config, data_module, "cpu") for name in ("student", "teacher")}


def test_the_plain_evaluation_gives_our_numbers(world):
    check_equal(*world)
    plain = evaluate_plainly(*world, Split.TRAIN)
    assert len(plain) == 2 * len(small_world.TASKS)
    assert all(np.isfinite(values).any() for values in plain.values()), "there is something to compare"


def test_other_numbers_are_noticed(world, monkeypatch):
    result = ours(*world)
    monkeypatch.setattr(
        "bench_evaluation.ours", lambda *given: {name: values + 0.01 for name, values in result.items()}
    )
    with pytest.raises(AssertionError):
        check_equal(*world)


SLOW, EQUAL, QUICK, HALF = "as released", "at equal settings", "foundationx", "foundationx, bf16"


def test_a_cycle_is_the_sum_of_its_parts(capsys, monkeypatch):
    """A visit of 4 images: 3, 2, 1 and 0.5 s; an image: 0.1 and 0.05 s; lists: 6 s; reading: 50 and 1 ms. A tenth are
    test images."""
    monkeypatch.setattr(bench_cycle, "IMAGES", dict.fromkeys(small_world.TASKS, 40_000))
    monkeypatch.setattr(bench_cycle, "TEST_SHARE", 0.1)
    visits = {task: {SLOW: 3.0, EQUAL: 2.0, QUICK: 1.0, HALF: 0.5} for task in small_world.TASKS}
    looks = {task: {SLOW: 0.1, QUICK: 0.05} for task in small_world.TASKS}
    bench_cycle.whole_cycle(visits, 6.0, looks, {1024: {SLOW: 0.05, QUICK: 0.001}})
    columns = [f"{name}, h" for name in (SLOW, EQUAL, QUICK, HALF)]
    printed = tables(capsys.readouterr().out)
    rows = {row["part"]: tuple(row[name] for name in columns) for row in printed if "part" in row}
    of_a_task = [10_000 * seconds / 3600 for seconds in (3, 2, 1, 0.5)]
    training = [3 * hours for hours in of_a_task]
    one_evaluation = 2 * 12_000 * 0.1 / 3600
    evaluation = [20 * one_evaluation, one_evaluation, one_evaluation / 2, one_evaluation / 2]
    lists = [20 * 2 * 6 / 3600, 0.0, 0.0, 0.0]
    assert all(rows[f"training, {task.value}"] == written(of_a_task) for task in small_world.TASKS)
    assert rows["evaluation"] == written(evaluation)
    assert rows["weights as lists"] == written(lists)
    without = [sum(parts) for parts in zip(training, evaluation, lists, strict=True)]
    assert rows["cycle without reading"] == written(without)
    trained_on = 40_000 * (1 + 1.5 + 1.5)  # no lock phase of classification
    looked_at = 20 * 2 * 12_000, 2 * 12_000, 12_000, 12_000
    each = (0.05, 0.001, 0.001, 0.001)
    reading = [(trained_on + count) * seconds / 3600 for count, seconds in zip(looked_at, each, strict=True)]
    assert rows["reading images of 1024 x 1024"] == written(reading)
    assert rows["cycle, images of 1024 x 1024"] == written([sum(both) for both in zip(without, reading, strict=True)])
    left_out = [float(row["h"]) for row in printed if "h" in row]
    assert sum(left_out) == pytest.approx(without[0], abs=0.05), "the parts make the released cycle up"
    assert left_out[-1] == pytest.approx(without[2], abs=0.01)


def written(hours):
    return tuple(f"{value:.2f}" for value in hours)


@pytest.fixture
def tiny_world(monkeypatch):
    """The network of the cycle, narrow, at 64 pixels; batches of each task."""
    tiny = SIZES["tiny"]
    for module in (bench_cycle, small_world):
        monkeypatch.setattr(module, "CONFIG", tiny.config)
        monkeypatch.setattr(module, "SIZE", tiny.pixels)
    heads = small_world.keys(1)
    return heads, {key.task: small_world.draw_batch(key) for key in heads}


@pytest.mark.parametrize("task", small_world.TASKS)
def test_the_released_logic_runs_the_teacher_s_graph_and_at_equal_settings_does_not(tiny_world, task):
    heads, batches = tiny_world
    for equal in (False, True):
        way = bench_cycle.Released(small_world.World(heads), equal)
        blocks = [module.with_cp for module in way.world.student.modules() if hasattr(module, "with_cp")]
        assert blocks and set(blocks) == {not equal}
        way.visit(batches[task])
        reached = [parameter for parameter in way.teacher.backbone.parameters() if parameter.grad is not None]
        assert bool(reached) is not equal


def test_four_groups_hold_every_parameter_once(tiny_world):
    heads, _ = tiny_world
    model = small_world.build(heads)
    groups = bench_cycle.released_groups(model)
    numbers = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(groups) == 4 and all(group["params"] for group in groups)
    assert sorted(numbers) == sorted(id(parameter) for parameter in model.parameters())


def test_ours_is_the_loop_of_a_run(tiny_world):
    """Lock and release of a visit: the student has learned, the teacher has followed, three steps were logged."""
    heads, batches = tiny_world
    ours = bench_cycle.Ours(small_world.World(heads))
    before = {name: value.clone() for name, value in ours.trainer.model.named_parameters()}
    ours.visit(batches[small_world.TASKS[1]])
    changed = {name for name, value in ours.trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("backbone") for name in changed)
    followed = dict(ours.trainer.teacher.model.named_parameters())
    assert all(not torch.equal(followed[name], before[name]) for name in changed)
