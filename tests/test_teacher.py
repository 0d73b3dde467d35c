"""The teacher: values by hand, buffers included, no gradient."""

import pytest
import torch
from torch import nn

from foundationx.models.teacher import Teacher


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


def test_follows_parameters_and_buffers_by_the_formula():
    torch.manual_seed(0)
    student = Small()
    teacher = Teacher(student)
    start = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))
    student.norm(torch.randn(8, 2))
    expected = {}
    for name, value in student.state_dict().items():
        expected[name] = 0.8 * start[name] + 0.2 * value if value.is_floating_point() else value
    teacher.update(0.8)
    for name, value in teacher.model.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert teacher.model.norm.num_batches_tracked.item() == 1
    assert not torch.equal(teacher.model.norm.running_mean, start["norm.running_mean"])


def test_closed_form_over_many_updates():
    student, updates, momentum = Small(), 7, 0.9
    teacher = Teacher(student)
    start = teacher.model.linear.weight.clone()
    with torch.no_grad():
        student.linear.weight.fill_(1.0)
    for _ in range(updates):
        teacher.update(momentum)
    expected = 1.0 + momentum**updates * (start - 1.0)
    torch.testing.assert_close(teacher.model.linear.weight, expected)


@pytest.mark.parametrize(("momentum", "equals"), [(0.0, "student"), (1.0, "start")])
def test_ends_of_the_range(momentum, equals):
    student = Small()
    teacher = Teacher(student)
    start = teacher.model.linear.weight.clone()
    with torch.no_grad():
        student.linear.weight.add_(1.0)
    teacher.update(momentum)
    torch.testing.assert_close(teacher.model.linear.weight, student.linear.weight if equals == "student" else start)


def test_never_trains_and_keeps_following_after_loading():
    student = Small()
    teacher = Teacher(student)
    teacher.train()
    assert not teacher.training and not teacher.model.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    # loading a state dict copies in place: the cached lists still point at the right tensors
    other = Small()
    student.load_state_dict(other.state_dict())
    teacher.update(0.0)
    torch.testing.assert_close(teacher.model.linear.weight, other.linear.weight)
