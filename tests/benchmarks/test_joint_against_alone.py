"""The comparison of joint and alone: equal steps in every arm, and when a head has forgotten."""

import argparse
from types import SimpleNamespace

import joint_against_alone as bench
import pytest

from foundationx.core.types import Split, TaskKey
from foundationx.engine.schedule.need import planned_steps
from foundationx.engine.schedule.plan import build_plan


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    out = tmp_path_factory.mktemp("joint")
    return argparse.Namespace(out=out, data=out, size=32, cycles=2, images=24, folds=3, val=0.2)


def test_every_arm_gives_a_head_the_steps_that_joint_gives_it(options):
    steps, others = {}, {}
    for arm in bench.ARMS:
        unit = bench.Unit("phantom", 1, 0, arm)
        config = bench.config_of(unit, options)
        data_module = bench.opened(config, unit, options)
        if arm not in ("joint", "former"):
            config = bench.with_steps_of_joint(config, unit, options, data_module)
        steps[arm] = bench.steps_of_heads(config, data_module)
        every = planned_steps(build_plan(config, data_module.sizes(Split.TRAIN)))
        others[arm] = sum(every.values()) - sum(steps[arm].values())
        patients = {split: set() for split in Split}
        for key, table in data_module.annotations.items():
            for split, indices in data_module.indices[key].items():
                patients[split] |= {table.patients[index] for index in indices}
        assert all(patients.values()) and not patients[Split.TRAIN] & patients[Split.VAL]
        assert not (patients[Split.TRAIN] | patients[Split.VAL]) & patients[Split.TEST]
    assert len(steps["joint"]) == 3
    assert all(own == steps["joint"] for arm, own in steps.items() if arm != "former")
    assert {arm for arm, count in others.items() if count} == {"guided"}


def test_forgetting_is_from_a_heads_last_visit_in_the_middle_cycle_to_its_end(monkeypatch):
    one, two = TaskKey.parse("a/classification"), TaskKey.parse("b/detection")
    visits = [(one, 1), (two, 1), (one, 1), (one, 2), (two, 2), (one, 2), (two, 2), (one, 3), (two, 3)]
    phases = [SimpleNamespace(key=key, cycle=cycle, visit=n) for n, (key, cycle) in enumerate(visits, 1)]
    clock = SimpleNamespace(visit=0)
    monkeypatch.setattr(bench, "of_head", lambda data_module, key: key)
    hook = bench.Forgetting(SimpleNamespace(phases=phases), None, None)
    monkeypatch.setattr(hook, "_score", lambda key: {str(key): {one: 1.0, two: 2.0}[key] / clock.visit})
    for phase in phases:
        clock.visit = phase.visit
        hook.on_visit_end(phase)
        if phase.visit in (3, 7, 9):
            clock.visit = 10 * phase.cycle
            hook.on_cycle_end(phase)
    assert hook.lost == {str(one): pytest.approx(1 / 6 - 1 / 20), str(two): pytest.approx(2 / 7 - 2 / 20)}
