"""Updates of the teacher that wait while a part of the student rests: equal to updates made at once."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foundationx.core.types import PhaseName, Task
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, step_of
from foundationx.models.ema_teacher import Teacher
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.host_traffic import HostTraffic
from tests.helpers.survival import Onlooker, equal, tiny_trainer

pytestmark = pytest.mark.slow

AT_WORK = ("head.a/classification",)


class Whole(nn.Module):
    """The groups of a model: a backbone with running statistics, and two heads."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.heads = nn.ModuleDict({f"{name}__classification": nn.Linear(4, 2) for name in "ab"})


def student_and_teachers(count):
    """A student that has moved on from its equal teachers."""
    torch.manual_seed(0)
    student = Whole()
    teachers = [Teacher(student) for _ in range(count)]
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.add_(1 + torch.rand(tensor.shape).to(tensor.dtype))
    return student, *teachers


def learn(student):
    """A step that changes head a alone."""
    with torch.no_grad():
        for parameter in student.heads["a__classification"].parameters():
            parameter.add_(torch.randn_like(parameter))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([None, True, False])), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
)
@settings(max_examples=60, deadline=None)
def test_waiting_equals_a_plain_loop_and_looking_in_between_changes_no_bit(updates, looks):
    """Momenta follow any curve, steps are left out by a flag; at every look the teacher is what the loop says."""
    student, seen, unseen, prompt = student_and_teachers(3)
    for position, (momentum, taken) in enumerate(updates):
        learn(student)
        flag = None if taken is None else torch.tensor(taken)
        seen.update(momentum, flag, AT_WORK)
        unseen.update(momentum, flag, AT_WORK)
        prompt.update(momentum, flag)
        if position in looks:
            seen.flush()
            assert_near(seen.model, prompt.model)
    unseen.flush()
    assert_near(unseen.model, prompt.model)
    seen.end_deferral()
    unseen.end_deferral()
    assert equal(seen.model.state_dict(), unseen.model.state_dict())


def assert_near(one, two):
    for name, value in two.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value, msg=name, atol=2e-6, rtol=2e-6)


def test_resting_tensors_are_not_touched_until_the_teacher_is_asked_for():
    student, teacher = student_and_teachers(1)
    before = copy.deepcopy(teacher.model.state_dict())
    with HostTraffic() as traffic:
        for _ in range(3):
            teacher.update(0.5, torch.tensor(True), AT_WORK)
    assert set(traffic.calls) <= {"tensor"}, "the product of momenta stays on the device"
    moved = {name for name, tensor in teacher.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"heads.a__classification.weight", "heads.a__classification.bias"}
    teacher.flush()
    for name, tensor in teacher.model.state_dict().items():
        expected = 0.125 * before[name] + 0.875 * student.state_dict()[name]
        torch.testing.assert_close(tensor, expected if tensor.is_floating_point() else student.state_dict()[name])


def test_other_scopes_or_all_of_them_make_up_for_what_waited():
    _, waiting, prompt = student_and_teachers(2)
    for groups in (AT_WORK, AT_WORK, ("head.b/classification",), None):
        waiting.update(0.5, None, groups)
        prompt.update(0.5)
    assert_near(waiting.model, prompt.model)


def test_a_state_that_was_stored_in_between_goes_on_to_the_same_bits():
    student, whole, torn = student_and_teachers(2)
    for number in range(4):
        whole.update(0.3 + 0.1 * number, None, AT_WORK)
    whole.end_deferral()
    for number in range(4):
        torn.update(0.3 + 0.1 * number, None, AT_WORK)
        stored = copy.deepcopy((torn.state(), torn.model.state_dict()))
        torn = Teacher(student)
        torn.model.load_state_dict(stored[1])
        torn.restore(stored[0])
    torn.end_deferral()
    assert equal(torn.model.state_dict(), whole.model.state_dict())
    assert torn.state() is None


OPTIONS = {
    "schedule__cycles": 1,
    "schedule__lock__detection": 3.0,
    "schedule__lock__classification": 3.0,
    "schedule__max_steps": 3,
    "teacher__update": "step",
    "teacher__momentum": {"_delete_": True, "type": "cosine", "start": 0.5, "end": 1.0},
    "runtime__keep_checkpoints": 99,
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


def spoil(trainer, step):
    """The backbone sees NaN in this step (counted from 1)."""
    trainer.model.backbone.register_forward_pre_hook(
        lambda _, inputs: (inputs[0] * float("nan"),) if trainer.step + 1 == step else None
    )


def test_a_training_whose_teacher_waits_in_lock_phases_has_the_teacher_of_one_that_does_not(phantoms, tmp_path):
    onlooker = Onlooker()
    waiting = tiny_trainer(phantoms, tmp_path / "a", [onlooker], **OPTIONS)
    prompt = tiny_trainer(phantoms, tmp_path / "b", **OPTIONS)
    update, asked = prompt.teacher.update, []
    prompt.teacher.update = lambda momentum, only_if, trained: asked.append(trained) or update(momentum, only_if)
    for trainer in (waiting, prompt):
        spoil(trainer, 2)
        assert trainer.train()
    for groups, step in zip(asked, range(waiting.plan.total_steps), strict=True):
        phase = next(waiting.plan.from_step(step))
        assert groups == (phase.trainable if phase.name is PhaseName.LOCK else None)
    assert [incident.step for incident in onlooker.incidents] == [2]
    assert_near(waiting.teacher.model, prompt.teacher.model)
    assert_near(waiting.model, prompt.model)


def test_a_run_stopped_in_a_lock_phase_goes_on_to_the_same_bits(phantoms, tmp_path):
    """Also against a run that wrote no checkpoint there; stored teachers have had every update."""
    whole = tiny_trainer(phantoms, tmp_path / "whole", **OPTIONS)
    whole.train()
    stored = tiny_trainer(phantoms, tmp_path / "stored", **OPTIONS | {"runtime__checkpoint_every": 1})
    stored.train()
    assert equal(stored.teacher.model.state_dict(), whole.teacher.model.state_dict())
    phase = next(p for p in whole.plan.phases if p.name is PhaseName.LOCK and p.key.task is Task.DETECTION)
    inside = [p for p in checkpoints_in(tmp_path / "stored") if phase.first_step < step_of(p) < phase.end_step]
    assert len(inside) == phase.steps - 1
    checkpoint = load_checkpoint(inside[-1])
    again = tiny_trainer(phantoms, tmp_path / "again", **OPTIONS)
    again.resume(checkpoint)
    assert equal(again.teacher.model.state_dict(), checkpoint.teacher)
    again.train()
    assert equal(again.teacher.model.state_dict(), whole.teacher.model.state_dict())
    prompt = tiny_trainer(phantoms, tmp_path / "prompt", **OPTIONS | {"runtime__checkpoint_every": 1})
    update = prompt.teacher.update
    prompt.teacher.update = lambda momentum, only_if, trained: update(momentum, only_if)
    prompt.train()
    for path in inside:
        one, two = (
            load_checkpoint(folder / path.name).teacher for folder in (tmp_path / "stored", tmp_path / "prompt")
        )
        for name, value in two.items():
            torch.testing.assert_close(one[name], value, msg=name, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_the_teacher_is_run_only_where_the_consistency_weight_is_not_zero(phantoms, tmp_path, weight):
    trainer = tiny_trainer(phantoms, tmp_path, **OPTIONS | {"consistency__weight": weight, "schedule__max_steps": 1})
    runs = []
    trainer.teacher.model.backbone.register_forward_hook(lambda *_: runs.append(trainer.step))
    trainer.train()
    releases = [phase for phase in trainer.plan.phases if phase.name is PhaseName.RELEASE]
    expected = [step for phase in releases for step in range(phase.first_step, phase.end_step)]
    assert runs == (expected if weight else [])
