"""The plan of visits, against a golden table written by hand from docs/methods/foundation_x.md, "2 Training cycle"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.config.load import parse_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, Task, TaskKey, all_tasks, annotated_tasks
from foundationx.engine.schedule.need import phase_lengths
from foundationx.engine.schedule.plan import Phase, build_plan

C, D, S = Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION

# docs/methods/foundation_x.md, "2.1 Order of visits": the order of the 20 visits of a cycle; sizes are chosen so that
# steps are easy to count.
FOUNDATION_X = [
    ("chexpert", C, 480), ("nih14", C, 240), ("vindr", C, 96), ("shenzhen", C, 48), ("mimic", C, 960),
    ("tbx11k", C, 72), ("tbx11k", D, 72), ("node21", C, 50), ("node21", D, 50),
    ("candid", C, 120), ("candid", D, 120), ("candid", S, 120), ("rsna", C, 144), ("rsna", D, 144),
    ("chestxdet", C, 24), ("chestxdet", D, 24), ("chestxdet", S, 24),
    ("siim", C, 168), ("siim", D, 168), ("siim", S, 168),
]  # fmt: skip
SIZES = {TaskKey(name, task): size for name, task, size in FOUNDATION_X}

# Steps of each visit at batch 24: lock (half, rounded down, at least one) and release. X does not lock classification.
GOLDEN_STEPS = [
    (0, 20), (0, 10), (0, 4), (0, 2), (0, 40),
    (0, 3), (1, 3), (0, 3), (1, 3),
    (0, 5), (2, 5), (2, 5), (0, 6), (3, 6),
    (0, 1), (1, 1), (1, 1), (0, 7), (3, 7), (3, 7),
]  # fmt: skip


PUBLISHED = {"lock_until": 1.0, "floor": 0.0, "turns": 1}
"""One visit a cycle, by size, with lock phases to the end."""


def config(**changes):
    values = {
        "name": "x",
        "model": {"backbone": {"type": "mmdet.SwinTransformer"}, "detection": {"sharing": "decoder"}},
        "datasets": [{"card": "unused"}],
        "schedule": {"cycles": 2, "lock": {"classification": 0, "detection": 0.5, "segmentation": 0.5}} | PUBLISHED,
        "teacher": {"momentum": 0.8, "update": "phase"},
        "runtime": {"batch_size": 24},
    }
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_config(values, "test")


def test_foundation_x_cycle_is_golden():
    plan = build_plan(config(), SIZES)
    first = [phase for phase in plan.phases if phase.cycle == 1]
    assert plan.total_visits == 40
    assert plan.total_visits == plan.phases[-1].visit == len(plan.as_json()["visits"])
    result = []
    for visit, (key, _) in enumerate(SIZES.items(), start=1):
        phases = [phase for phase in first if phase.visit == visit]
        assert {phase.key for phase in phases} == {key}
        steps = {phase.name: phase.steps for phase in phases}
        result.append((steps.get(PhaseName.LOCK, 0), steps[PhaseName.RELEASE]))
        assert [phase.name for phase in phases] in (["release"], ["lock", "release"])
        assert [phase.closes_visit for phase in phases] == [False] * (len(phases) - 1) + [True]
    assert result == GOLDEN_STEPS
    # 2.3: one teacher update at the end of every phase: 1 per classification visit, 2 else, 29 a cycle, momentum 0.80
    assert len(first) == 29
    assert {phase.momentum for phase in first} == {0.8}
    assert [phase.closes_cycle for phase in first] == [False] * 28 + [True]


def test_foundation_x_plus_locks_everywhere():
    lock = {"cycles": 1, "lock": {"classification": 0.5, "detection": 0.5, "segmentation": 0.5}}
    plan = build_plan(config(schedule=lock), SIZES)
    assert len(plan.phases) == 40
    assert all(
        phase.name is (PhaseName.LOCK if n % 2 == 0 else PhaseName.RELEASE) for n, phase in enumerate(plan.phases)
    )


def test_trainable_scopes():
    plan = build_plan(config(), SIZES)
    by = {(phase.key, phase.name): phase for phase in plan.phases}
    candid = {task: TaskKey("candid", task) for task in annotated_tasks()}
    assert by[candid[D], "lock"].trainable == ("head.candid/detection",)
    assert by[candid[D], "release"].trainable == ("backbone", "neck", "encoder", "head.candid/detection")
    assert by[candid[S], "lock"].trainable == ("head.candid/segmentation",)
    assert by[candid[S], "release"].trainable == ("backbone", "decoder.segmentation", "head.candid/segmentation")
    assert by[candid[C], "release"].trainable == ("backbone", "head.candid/classification")
    shared = config(model={"detection": {"sharing": "queries"}, "projector": {"features": 8}})
    by = {(phase.key, phase.name): phase for phase in build_plan(shared, SIZES).phases}
    assert by[candid[D], "lock"].trainable == ("head.candid/detection",)
    assert "decoder.detection" in by[candid[D], "release"].trainable
    assert "projector" in by[candid[C], "release"].trainable


def test_consistency_only_where_something_below_it_is_trained():
    plan = build_plan(config(consistency={"weight": {"type": "linear", "start": 0, "end": 1}}), SIZES)
    assert all(phase.consistency == 0 for phase in plan.phases if phase.name == "lock")
    releases = [phase.consistency for phase in plan.phases if phase.name == "release"]
    assert releases == pytest.approx([visit / 40 for visit in range(40)])


def test_ark_rounds_move_the_teacher_once_a_visit():
    ark = config(
        schedule={"cycles": 3, "lock": {"classification": 0}},
        teacher={"momentum": {"type": "cosine", "start": 0.9, "end": 1.0}, "update": "visit"},
        consistency={"weight": {"type": "cosine", "start": 0.0, "end": 0.5}},
    )
    sizes = {key: size for key, size in SIZES.items() if key.task is C and key.dataset in ("chexpert", "nih14")}
    plan = build_plan(ark, sizes)
    # S = E * K = 6 visits; m(0) = 0.9, m(2) = 0.925 and m(3) = 0.95 by hand
    momenta = [phase.momentum for phase in plan.phases]
    assert momenta[0] == pytest.approx(0.9) and momenta[2] == pytest.approx(0.925) and momenta[3] == pytest.approx(0.95)
    assert plan.phases[3].consistency == pytest.approx(0.25)


def test_update_per_visit_and_per_step():
    per_visit = build_plan(config(teacher={"update": "visit"}), SIZES)
    assert all((phase.momentum is not None) == phase.closes_visit for phase in per_visit.phases)
    per_step = build_plan(config(teacher={"update": "step"}), SIZES)
    assert all(phase.momentum is None for phase in per_step.phases)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6), st.integers(1, 64), st.integers(1, 3), st.integers(1, 9))
def test_phases_follow_each_other_without_gaps(counts, batch, cycles, cap):
    sizes = {TaskKey(f"d{n}", all_tasks()[n % 3]): count for n, count in enumerate(counts)}
    plan = build_plan(config(schedule={"cycles": cycles, "max_steps": cap}, runtime={"batch_size": batch}), sizes)
    step = 0
    for phase in plan.phases:
        assert phase.first_step == step and 1 <= phase.steps <= cap
        step = phase.end_step
    assert plan.total_steps == step
    middle = plan.total_steps // 2
    rest = list(plan.from_step(middle))
    assert rest[0].first_step <= middle < rest[0].end_step
    assert rest == list(plan.phases[-len(rest) :])


def test_a_pass_covers_every_image():
    lengths = phase_lengths(config().schedule, TaskKey("a", C), 25, 24)
    assert lengths == {PhaseName.RELEASE: 2}


def test_faults_are_named():
    with pytest.raises(ConfigError, match="no image is left"):
        build_plan(config(), {TaskKey("empty", C): 0})
    with pytest.raises(ConfigError, match="did you mean 'cyclic'"):
        build_plan(config(schedule={"type": "cyclc"}), SIZES)
    with pytest.raises(ConfigError, match="would be empty"):
        config(schedule={"lock": {"detection": 0}, "release": {"classification": 1, "detection": 0, "segmentation": 1}})


def test_json_has_every_phase():
    plan = build_plan(config(), SIZES)
    visits = plan.as_json()["visits"]
    assert [visit["index"] for visit in visits] == list(range(1, 41))
    assert sum(phase["steps"] for visit in visits for phase in visit["phases"]) == plan.total_steps


@pytest.mark.parametrize("heads", [1, 2, 3, 7])
def test_visits_are_cycles_times_heads_whatever_their_last_phase(heads):
    sizes = {TaskKey(f"d{index}", C): 48 for index in range(heads)}
    plan = build_plan(config(schedule={"cycles": 3, "lock": {"classification": 0}}), sizes)
    assert plan.total_visits == 3 * heads and len(plan.phases) == 3 * heads


@pytest.mark.parametrize(("steps", "uses", "reads"), [(5, 1, 5), (5, 2, 3), (6, 2, 3), (7, 3, 3), (1, 4, 1)])
def test_steps_that_share_a_batch_read_it_once(steps, uses, reads):
    key = TaskKey("a", D)
    phase = Phase(PhaseName.LOCK, key, 1, 1, 10, steps, (), 0.0, None, False, False, uses)
    assert phase.reads == reads and phase.end_step == 10 + steps


def test_only_a_lock_phase_of_an_annotated_head_trains_the_head_alone():
    plan = build_plan(config(schedule={"cycles": 1, "lock": {"classification": 0.5}}), SIZES)
    assert all(phase.is_head_only == (phase.name is PhaseName.LOCK) for phase in plan.phases)
    free = {TaskKey("a", Task.SELF_SUPERVISION): 48}
    lock = {"cycles": 1, "lock": {"self_supervision": 0.5}}
    phases = build_plan(config(schedule=lock), free).phases
    assert [phase.name for phase in phases] == ["lock", "release"] and not any(phase.is_head_only for phase in phases)


def test_batches_are_reused_in_lock_phases_of_annotated_heads_alone():
    lock = {"cycles": 1, "lock": {"detection": 0.5}, "reuse": {"uses": 4}}
    phases = build_plan(config(schedule=lock), {TaskKey("a", D): 480}).phases
    assert [(phase.name, phase.uses, phase.reads) for phase in phases] == [("lock", 4, 3), ("release", 1, 20)]
    free = {"cycles": 1, "lock": {"self_supervision": 0.5}, "reuse": {"uses": 4}}
    phases = build_plan(config(schedule=free), {TaskKey("a", Task.SELF_SUPERVISION): 480}).phases
    assert [phase.uses for phase in phases] == [1, 1]
