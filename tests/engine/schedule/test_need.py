"""Steps by need, turns, the end of lock phases and the momentum of short runs: by hand and against plain references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.config.load import parse_config
from foundationx.core.config.run import TeacherConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, Task, TaskKey, annotated_tasks
from foundationx.engine.schedule.curves import teacher_momentum
from foundationx.engine.schedule.need import more_steps, planned_steps, short_heads, with_floor
from foundationx.engine.schedule.plan import build_plan

C, D, S = Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION
LABELS, BOXES, MASKS = TaskKey("labels", C), TaskKey("boxes", D), TaskKey("masks", S)
NEEDS = {C: 200, D: 300, S: 200}


def config(cycles=10, batch=8, **schedule):
    values = {
        "name": "x",
        "model": {"backbone": {"type": "mmdet.SwinTransformer"}},
        "datasets": [{"card": "unused"}],
        "schedule": {"cycles": cycles, **schedule},
        "runtime": {"batch_size": batch},
    }
    return parse_config(values, "test")


def reference(wanted, floors):
    """Plain bisection of c in max(floor, c * wanted) = total."""
    total, low, high = sum(wanted.values()), 0.0, 1.0
    for _ in range(200):
        c = (low + high) / 2
        if sum(max(floors[key], c * wanted[key]) for key in wanted) > total:
            high = c
        else:
            low = c
    return {key: max(floors[key], low * wanted[key]) for key in wanted}


def test_needs_are_those_of_the_tasks():
    assert {task: task.facts.needed_steps for task in annotated_tasks() if task in NEEDS} == NEEDS
    assert Task.SELF_SUPERVISION.facts.needed_steps == 0


def test_a_small_set_gets_what_it_needs_from_the_large_one():
    """130, 3 and 10 steps a cycle by size; 20, 30 and 20 are needed in each of ten: 143 = 93 + 30 + 20."""
    steps = planned_steps(build_plan(config(), {LABELS: 1040, BOXES: 24, MASKS: 80}))
    assert steps == {LABELS: 930, BOXES: 300, MASKS: 200}


def test_a_short_run_shares_its_steps_in_proportion_to_need():
    """35 steps a cycle of ten, 70 needed: half of every need."""
    plan = build_plan(config(), {LABELS: 8 * 30, BOXES: 8, MASKS: 8 * 4})
    assert planned_steps(plan) == {LABELS: 100, BOXES: 150, MASKS: 100}
    assert more_steps(config().schedule, plan) == "raise schedule.cycles to 20"
    assert more_steps(config(floor=0.0).schedule, plan) == "raise schedule.cycles to 20 and set schedule.floor=1"
    assert dict(short_heads(plan)) == {
        LABELS: "100 steps in the whole run; classification needs about 200",
        BOXES: "150 steps in the whole run; detection needs about 300",
        MASKS: "100 steps in the whole run; segmentation needs about 200",
    }


def test_a_run_that_meets_all_needs_is_planned_by_size():
    sizes = {LABELS: 8 * 100, BOXES: 8 * 40, MASKS: 8 * 25}
    plan = build_plan(config(), sizes)
    assert planned_steps(plan) == {LABELS: 1000, BOXES: 400, MASKS: 250} and not list(short_heads(plan))
    assert plan == build_plan(config(floor=0.0), sizes)


def test_a_floor_of_nothing_and_capped_passes_are_by_size():
    sizes = {LABELS: 1040, BOXES: 24}
    assert planned_steps(build_plan(config(floor=0.0), sizes)) == {LABELS: 1300, BOXES: 30}
    assert planned_steps(build_plan(config(order="capped", cap=80), sizes)) == {LABELS: 100, BOXES: 30}
    half = planned_steps(build_plan(config(floor=0.5), sizes))
    assert half == {LABELS: 1330 - 150, BOXES: 150}


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.floats(0, 1), st.integers(1, 40))
def test_floors_are_those_of_a_plain_search_and_a_cycle_keeps_its_length(counts, floor, cycles):
    keys = [TaskKey(f"d{n}", (C, D, S)[n % 3]) for n in range(len(counts))]
    wanted = dict(zip(keys, counts, strict=True))
    schedule = config(cycles=cycles, floor=floor).schedule
    needs = {key: NEEDS[key.task] / cycles for key in keys}
    scale = floor * min(1, sum(counts) / sum(needs.values()))
    expected = reference(wanted, {key: scale * need for key, need in needs.items()})
    found = with_floor(schedule, wanted)
    assert all(count >= 1 for count in found.values())
    assert all(abs(found[key] - expected[key]) <= 1 + 1e-3 for key in keys)
    if all(value >= 1 for value in expected.values()):
        assert sum(found.values()) == sum(counts)


def test_steps_that_are_asked_for_are_spread_evenly_over_the_cycles():
    plan = build_plan(config(cycles=4, turns=1, steps={"boxes/detection": 10}), {LABELS: 8 * 300, BOXES: 24})
    assert [phase.steps for phase in plan.phases if phase.key == BOXES] == [2, 3, 2, 3]
    few = build_plan(config(cycles=4, steps={"boxes/detection": 2}), {LABELS: 8 * 300, BOXES: 24})
    assert [(phase.cycle, phase.steps) for phase in few.phases if phase.key == BOXES] == [(2, 1), (4, 1)]
    with pytest.raises(ConfigError, match="no head"):
        config(steps={"boxes": 10})


def test_heads_take_turns_until_each_has_had_its_steps():
    """Of 4 turns, 8 steps are 2, 2, 2, 2 and 3 steps are 0, 1, 1, 1."""
    plan = build_plan(config(cycles=1, floor=0.0, turns=4), {LABELS: 64, BOXES: 24})
    assert [(phase.key, phase.steps) for phase in plan.phases] == [
        (LABELS, 2), (LABELS, 2), (BOXES, 1), (LABELS, 2), (BOXES, 1), (LABELS, 2), (BOXES, 1)
    ]  # fmt: skip
    assert [phase.visit for phase in plan.phases] == list(range(1, 8))
    assert [phase.closes_cycle for phase in plan.phases] == [False] * 6 + [True]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 20), st.integers(1, 4))
def test_turns_change_the_order_of_steps_alone(counts, turns, cycles):
    sizes = {TaskKey(f"d{n}", (C, D, S)[n % 3]): count for n, count in enumerate(counts)}
    shares = {"cycles": cycles, "lock": {"detection": 0.5}, "lock_until": 1.0}
    one, many = (build_plan(config(turns=count, **shares), sizes) for count in (1, turns))
    assert planned_steps(one) == planned_steps(many)
    step = 0
    for phase in many.phases:
        assert phase.first_step == step and phase.steps > 0
        step = phase.end_step
    for cycle in range(1, cycles + 1):
        for key in sizes:
            for name in PhaseName:
                same = [
                    sum(p.steps for p in plan.phases if (p.cycle, p.key, p.name) == (cycle, key, name))
                    for plan in (one, many)
                ]
                assert same[0] == same[1]


def test_lock_phases_end_and_their_steps_are_release_steps():
    plan = build_plan(config(cycles=4, floor=0.0, turns=1, lock={"detection": 0.5}), {BOXES: 64})
    found = [(phase.cycle, phase.name.value, phase.steps) for phase in plan.phases]
    assert found == [(1, "lock", 4), (1, "release", 8), (2, "release", 12), (3, "release", 12), (4, "release", 12)]
    never = build_plan(config(cycles=4, floor=0.0, turns=1), {BOXES: 64})
    assert [phase.name.value for phase in never.phases] == ["release"] * 4, "nothing is locked by default"


def test_momentum_of_a_run_is_the_mean_over_a_twentieth_of_it():
    by_default = teacher_momentum(TeacherConfig(), 1000)
    assert by_default(0.0) == 0.1 and by_default(0.001) == pytest.approx(2 / 11), "(1 + t) / (10 + t)"
    assert by_default(0.9) == by_default(1.0) == pytest.approx(1 - 1 / 50)
    assert teacher_momentum(TeacherConfig(), 10)(1.0) == 0.0, "a run this short has no mean: the teacher is the student"
    assert teacher_momentum(TeacherConfig(momentum=0.9), 1000)(0.5) == 0.9
    assert teacher_momentum(TeacherConfig(update="visit"), 1000)(0.5) == 0.8
