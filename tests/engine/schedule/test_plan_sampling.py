"""In which order a cycle visits datasets, and how long a pass is (schedule.order), by hand and as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, TaskKey
from foundationx.engine.schedule.need import pass_sizes
from foundationx.engine.schedule.plan import build_plan
from tests.engine.schedule.test_plan import SIZES, C, D, S, config

LARGE, SMALL, BOXES = TaskKey("large", C), TaskKey("small", C), TaskKey("small", D)


def releases(plan, key):
    return [phase.steps for phase in plan.phases if phase.key == key and phase.name is PhaseName.RELEASE]


def visits(plan, cycle):
    return list(dict.fromkeys(phase.key for phase in plan.phases if phase.cycle == cycle))


def test_fixed_is_the_default_and_is_printed():
    plan = build_plan(config(), SIZES)
    assert plan == build_plan(config(schedule={"order": "fixed", "cycles": 2}), SIZES)
    assert visits(plan, 1) == visits(plan, 2) == list(SIZES)
    assert plan.as_json()["order"] == "fixed"


def test_temperature_two_by_hand():
    # roots of 10,000 and 100 are 100 and 10: the 10,100 images of a cycle are shared out 100 to 10: 9,182 and 918
    schedule = {"cycles": 1, "order": "temperature", "temperature": 2}
    plan = build_plan(config(schedule=schedule, runtime={"batch_size": 100}), {LARGE: 10_000, SMALL: 100})
    assert releases(plan, LARGE) == [92] and releases(plan, SMALL) == [10]
    assert plan.as_json()["order"] == "temperature"
    fixed = build_plan(config(runtime={"batch_size": 100}), {LARGE: 10_000, SMALL: 100})
    assert releases(fixed, LARGE) == [100, 100] and releases(fixed, SMALL) == [1, 1]


def test_capped_by_hand():
    schedule = {"cycles": 1, "order": "capped", "cap": 250, "lock": {"classification": 0, "detection": 0.5}}
    plan = build_plan(config(schedule=schedule, runtime={"batch_size": 100}), {LARGE: 10_000, SMALL: 90, BOXES: 400})
    assert releases(plan, LARGE) == [3] and releases(plan, SMALL) == [1] and releases(plan, BOXES) == [3]
    assert [phase.steps for phase in plan.phases if phase.name is PhaseName.LOCK] == [1], "half of three, rounded down"


def test_shuffled_visits_each_dataset_once_a_cycle_with_its_tasks_together():
    def plan_of(seed):
        schedule = {"order": "shuffled", "cycles": 5}
        return build_plan(config(schedule=schedule, runtime={"seed": seed}), SIZES)

    plan, fixed = plan_of(0), build_plan(config(schedule={"cycles": 5}), SIZES)
    assert plan == plan_of(0) and plan != plan_of(1)
    assert plan.total_steps == fixed.total_steps
    orders = [visits(plan, cycle) for cycle in range(1, 6)]
    assert len({tuple(order) for order in orders}) == 5, "every cycle draws anew"
    for order in orders:
        assert sorted(order) == sorted(SIZES)
        datasets = [key.dataset for key in order]
        assert [datasets[n] != datasets[n - 1] for n in range(1, len(order))].count(True) == len(set(datasets)) - 1
        assert [key.task for key in order if key.dataset == "candid"] == [C, D, S]
    closing = [phase for phase in plan.phases if phase.closes_cycle]
    assert [(phase.cycle, phase.key) for phase in closing] == [(n + 1, order[-1]) for n, order in enumerate(orders)]


@given(st.lists(st.integers(1, 100_000), min_size=2, max_size=8), st.floats(1, 50))
def test_temperature_keeps_the_length_of_a_cycle_and_brings_heads_closer(counts, temperature):
    sizes = {TaskKey(f"d{n}", C): count for n, count in enumerate(counts)}
    result = pass_sizes(config(schedule={"order": "temperature", "temperature": temperature}).schedule, sizes)
    assert abs(sum(result.values()) - sum(counts)) <= len(counts)
    by_size = sorted(sizes, key=sizes.get)
    assert [result[key] for key in by_size] == sorted(result.values()), "the larger set stays the larger"
    smallest, largest = by_size[0], by_size[-1]
    assert result[smallest] >= sizes[smallest] - 1 and result[largest] <= sizes[largest] + 1


def test_very_high_temperature_sees_all_alike():
    schedule = config(schedule={"order": "temperature", "temperature": 1e9}).schedule
    assert pass_sizes(schedule, {LARGE: 9_000, SMALL: 1_000}) == {LARGE: 5_000, SMALL: 5_000}


@pytest.mark.parametrize(
    "schedule", [{"order": "capped"}, {"cap": 3}, {"temperature": 2}, {"order": "shuffled", "temperature": 2}]
)
def test_a_rule_without_its_number_or_a_number_without_its_rule_is_refused(schedule):
    with pytest.raises(ConfigError, match="order is"):
        config(schedule=schedule)


def test_a_tiny_set_beside_a_huge_one_is_seen_at_least_once_a_cycle():
    schedule = config(schedule={"order": "temperature", "temperature": 1.01}).schedule
    assert pass_sizes(schedule, {LARGE: 1_000_000, SMALL: 1})[SMALL] == 1


@pytest.mark.parametrize("rule", [{"order": "temperature", "temperature": 2}, {"order": "capped", "cap": 50}, {}])
def test_only_shuffled_changes_the_order_of_visits(rule):
    plan = build_plan(config(schedule={"cycles": 2, **rule}), SIZES)
    assert visits(plan, 1) == visits(plan, 2) == list(SIZES)
