"""A head follows the teacher only if the teacher's task loss is below the student's; asking leaves no trace."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from foundationx.core.config.run import ConsistencyConfig
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.step import TeacherGate

HEAD = TaskKey("a", Task.CLASSIFICATION)
PHASE = Phase(PhaseName.RELEASE, HEAD, 1, 1, 0, 5, (), 0.4, None, True, False)
BATCH = SimpleNamespace(teacher_images=torch.ones(2, 1, 4, 4), key=HEAD)


class Constant(nn.Module):
    """A network with a dropout layer, a random draw in its loss, and losses that are given."""

    def __init__(self, *losses):
        super().__init__()
        self.parts, self.dropout, self.asked, self.drawn = losses, nn.Dropout(0.5), 0, []

    def losses(self, images, batch):
        assert not self.training and not self.dropout.training and not torch.is_grad_enabled()
        self.asked += 1
        self.drawn.append(float(torch.rand(())))
        return images, {f"part{n}": torch.tensor(loss) for n, loss in enumerate(self.parts)}


def gate(**changes):
    return TeacherGate(SimpleNamespace(consistency=ConsistencyConfig(**changes), runtime=SimpleNamespace(seed=3)))


def ask(asked, phase, student, teacher, step=0):
    return asked.applied(phase, step, student, SimpleNamespace(model=teacher), lambda images: images, BATCH)


@pytest.mark.parametrize(("own", "weight"), [((0.5, 0.4), 0.4), ((0.5, 0.5), 0.0), ((0.5, 0.7), 0.0)])
def test_the_sums_of_the_task_losses_decide(own, weight):
    student, teacher = Constant(0.6, 0.4), Constant(*own)
    assert ask(gate(), PHASE, student, teacher) == replace(PHASE, consistency=weight)


def test_it_is_asked_once_per_head_and_cycle():
    asked, student, teacher = gate(), Constant(1.0), Constant(2.0)
    for step in range(3):
        assert ask(asked, PHASE, student, teacher, step).consistency == 0
    teacher.parts = (0.5,)
    assert ask(asked, PHASE, student, teacher, 3).consistency == 0, "the answer holds for the cycle"
    assert ask(asked, replace(PHASE, cycle=2), student, teacher, 4).consistency == 0.4
    other = replace(PHASE, key=TaskKey("b", Task.CLASSIFICATION))
    assert ask(asked, other, student, teacher, 5).consistency == 0.4
    assert student.asked == teacher.asked == 3


def test_asking_changes_neither_random_numbers_nor_modes():
    student, teacher = Constant(1.0).train(), Constant(2.0).eval()
    student.dropout.eval()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    ask(gate(), PHASE, student, teacher, 7)
    assert torch.equal(torch.rand(3), expected)
    assert student.training and not student.dropout.training and not teacher.training
    assert student.drawn == teacher.drawn, "both see the same draws"


def test_nobody_is_asked_without_consistency_or_if_the_teacher_is_followed_anyway():
    student, teacher = Constant(1.0), Constant(2.0)
    assert ask(gate(), replace(PHASE, consistency=0.0), student, teacher).consistency == 0
    assert ask(gate(only_if_better=False), PHASE, student, teacher) is PHASE
    assert student.asked == teacher.asked == 0


def test_answers_are_kept_in_checkpoints():
    first, student, teacher = gate(), Constant(1.0), Constant(2.0)
    ask(first, PHASE, student, teacher)
    second = gate()
    second.restore(first.state())
    teacher.parts = (0.5,)
    assert ask(second, PHASE, student, teacher).consistency == 0 and teacher.asked == 1
