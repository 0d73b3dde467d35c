"""The loss of a step by hand, with networks whose losses are given."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from foundationx.core.config.run import RuntimeConfig
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine import step
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.step import precision, training_losses

KEY = TaskKey("a", Task.CLASSIFICATION)
PHASE = Phase(PhaseName.RELEASE, KEY, 1, 1, 0, 5, (), 0.25, None, True, False)
BATCH = SimpleNamespace(key=KEY, images="student's view", teacher_images="teacher's view")


class Student:
    """Notes what it is given; its losses are 2 and 3."""

    def __init__(self):
        self.seen = []

    def losses(self, images, batch, trunk_output):
        self.seen.append((images, trunk_output))
        return trunk_output or "its trunk", {"one": torch.tensor(2.0), "two": torch.tensor(3.0)}


class Follower:
    """Notes what its trunk is given."""

    def __init__(self):
        self.seen, self.model = [], SimpleNamespace(trunk=self.trunk)

    def trunk(self, images, key):
        assert not torch.is_grad_enabled()
        self.seen.append((images, key))
        return "the teacher's trunk"


def normalise(images):
    return f"normalised {images}"


@pytest.fixture(autouse=True)
def ten(monkeypatch):
    """The consistency loss is 10."""
    compared = []
    monkeypatch.setattr(step, "consistency_loss", lambda *both: compared.append(both) or torch.tensor(10.0))
    return compared


@pytest.mark.parametrize(("weight", "total"), [(0.25, 0.75 * 5 + 0.25 * 10), (1.0, 10.0), (0.5, 7.5)])
def test_the_loss_weighs_the_task_against_consistency(ten, weight, total):
    student, teacher = Student(), Follower()
    output = training_losses(student, teacher, normalise, BATCH, replace(PHASE, consistency=weight))
    assert float(output.loss) == total
    assert {name: float(part) for name, part in output.parts.items()} == {
        "one": 2.0, "two": 3.0, "task": 5.0, "consistency": 10.0, "total": total
    }  # fmt: skip
    assert student.seen == [("normalised student's view", None)]
    assert teacher.seen == [("normalised teacher's view", KEY)] and ten == [("its trunk", "the teacher's trunk")]


def test_without_consistency_the_teacher_is_not_run():
    teacher = Follower()
    output = training_losses(Student(), teacher, normalise, BATCH, replace(PHASE, consistency=0.0))
    assert {name: float(part) for name, part in output.parts.items()} == {
        "one": 2.0,
        "two": 3.0,
        "task": 5.0,
        "total": 5.0,
    }
    assert float(output.loss) == 5.0 and teacher.seen == []


def test_what_the_trunk_gives_is_not_computed_again_where_it_is_known(ten):
    student = Student()
    training_losses(student, Follower(), normalise, BATCH, PHASE, "kept")
    assert student.seen == [(None, "kept")] and ten == [("kept", "the teacher's trunk")]


class Views:
    """A batch of four samples of a task without annotations."""

    key = TaskKey("a", Task.SELF_SUPERVISION)

    def __len__(self):
        return 4


def test_an_objective_is_the_sum_of_its_parts_and_this_rank_s_share_of_it(monkeypatch):
    asked = []
    parts = {"one": torch.tensor(2.0), "two": torch.tensor(3.0)}
    monkeypatch.setattr(step, "look_at_views", lambda *given: asked.append(given) or SimpleNamespace(losses=parts))
    monkeypatch.setattr(step.distributed, "batch_share", lambda size, device, name: size / 8)
    batch, teacher = Views(), SimpleNamespace(model="teacher")
    output = training_losses("student", teacher, normalise, batch, PHASE)
    assert asked == [("student", "teacher", normalise, batch)]
    assert float(output.loss) == 2.5
    assert {name: float(part) for name, part in output.parts.items()} == {
        "one": 2.0,
        "two": 3.0,
        "task": 5.0,
        "total": 2.5,
    }


@pytest.mark.parametrize(("chosen", "low"), [("bf16", True), ("fp32", False), ("auto", False)])
def test_the_precision_is_the_one_asked_for(chosen, low):
    with precision(RuntimeConfig(precision=chosen), torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is low
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is (torch.bfloat16 if low else torch.float32)
