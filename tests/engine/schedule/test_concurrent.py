"""All datasets at once: golden orders by hand, and what the teacher and the curves do at each step."""

from collections import Counter

import pytest

from foundationx.core.config.load import parse_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine.schedule.curves import cosine
from foundationx.engine.schedule.plan import Plan, build_plan

C = Task.CLASSIFICATION
A, B, D = TaskKey("a", C), TaskKey("b", C), TaskKey("d", C)
SIZES = {A: 12, B: 4, D: 7}  # 3, 1 and 2 steps of 4 images


def concurrent(order="fixed", **changes):
    values = {
        "name": "x",
        "model": {"backbone": {"type": "mmdet.SwinTransformer"}},
        "datasets": [{"card": "unused"}],
        "schedule": {"type": "concurrent", "cycles": 2, "order": order, "lock": {}, "floor": 0.0},
        "runtime": {"batch_size": 4},
    }
    values["schedule"]["lock"] = {"detection": 0, "segmentation": 0, "classification": 0}
    return parse_config(values | changes, "test")


def test_in_fixed_order_the_heads_take_turns_until_their_passes_are_used_up():
    plan = build_plan(concurrent(teacher={"update": "cycle", "momentum": 0.7}), SIZES)
    assert [phase.key for phase in plan.phases] == [A, B, D, A, D, A] * 2
    assert [(phase.first_step, phase.steps, phase.visit) for phase in plan.phases] == [(n, 1, n + 1) for n in range(12)]
    assert [phase.momentum for phase in plan.phases] == [None, None, None, None, None, 0.7] * 2
    assert [phase.closes_cycle for phase in plan.phases] == [False, False, False, False, False, True] * 2


def test_drawn_by_size_a_cycle_has_every_image_once_and_curves_move_with_every_step():
    curve = {"type": "cosine", "start": 0.9, "end": 1.0}
    config = concurrent("shuffled", teacher={"update": "visit", "momentum": curve}, consistency={"weight": curve})
    plan = build_plan(config, SIZES)
    first, second = ([p.key for p in plan.phases if p.cycle == cycle] for cycle in (1, 2))
    assert Counter(first) == Counter(second) == {A: 3, B: 1, D: 2}
    assert first != second, "a new order each cycle"
    for step, phase in enumerate(plan.phases):
        assert phase.momentum == phase.consistency == cosine(0.9, 1.0)(step / 12)
    assert build_plan(config, SIZES) == plan
    other = concurrent("shuffled", runtime={"batch_size": 4, "seed": 1})
    assert [p.key for p in build_plan(other, SIZES).phases] != first + second


def test_orders_that_size_passes_size_them_here_too():
    capped = concurrent(
        schedule={"type": "concurrent", "cycles": 1, "order": "capped", "cap": 4, "lock": concurrent().schedule.lock}
    )
    assert Counter(phase.key for phase in build_plan(capped, SIZES).phases) == {A: 1, B: 1, D: 1}


def test_a_lock_phase_has_no_place_in_it():
    with pytest.raises(ConfigError, match="no lock phases"):
        build_plan(concurrent(schedule={"type": "concurrent", "cycles": 1, "lock": {"classification": 0.5}}), SIZES)


def test_with_a_teacher_that_follows_every_step_no_phase_moves_it():
    plan = build_plan(concurrent(teacher={"update": "step", "momentum": 0.9}), SIZES)
    assert {phase.momentum for phase in plan.phases} == {None}
    assert [phase.closes_cycle for phase in plan.phases] == [False, False, False, False, False, True] * 2
    assert all(phase.closes_visit and phase.name is PhaseName.RELEASE for phase in plan.phases)
    assert plan.total_visits == plan.total_steps == 12


def test_a_single_step_closes_its_cycle():
    plan = build_plan(concurrent(teacher={"update": "cycle", "momentum": 0.9}), {A: 3})
    assert [(phase.cycle, phase.closes_cycle, phase.momentum) for phase in plan.phases] == [
        (1, True, 0.9),
        (2, True, 0.9),
    ]


def test_heads_without_consistency_are_not_tied():
    free = TaskKey("a", Task.SELF_SUPERVISION)
    config = concurrent(consistency={"weight": 0.5})
    tied = {phase.key: phase.consistency for phase in build_plan(config, {A: 4, free: 4}).phases}
    assert tied == {A: 0.5, free: 0.5 if free.task.facts.has_consistency else 0.0}


def test_an_empty_plan_has_no_visit():
    assert Plan(()).total_visits == Plan(()).total_steps == 0
