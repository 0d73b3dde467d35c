"""The teacher: values by hand, buffers included, no gradient."""

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from foundationx.models.ema_teacher import Teacher, _step_by_tensor, _step_in_groups
from tests.helpers.host_traffic import HostTraffic


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


@pytest.mark.parametrize(("step", "tolerance"), [(_step_by_tensor, 0), (_step_in_groups, 1e-6)])
@pytest.mark.parametrize("applied", [True, False])
def test_a_weight_on_the_device_moves_as_a_plain_loop(step, tolerance, applied):
    torch.manual_seed(0)
    kinds = [((3, 2), torch.float32), ((5,), torch.float64), ((), torch.float32)]
    teacher, student = ([torch.randn(shape, dtype=dtype) for shape, dtype in kinds] for _ in range(2))
    weight = torch.where(torch.tensor(applied), 0.3, 0.0)
    expected = [
        own.clone().lerp_(followed, weight.to(own.dtype)) for own, followed in zip(teacher, student, strict=True)
    ]
    step(teacher, student, weight)
    for own, wanted in zip(teacher, expected, strict=True):
        torch.testing.assert_close(own, wanted, atol=tolerance if applied else 0, rtol=0)


@pytest.mark.parametrize("only_if", [None, True, False])
def test_an_update_is_a_fixed_number_of_calls_and_reads_nothing(only_if):
    student = nn.ModuleList(Small() for _ in range(5))
    teacher = Teacher(student)
    flag = None if only_if is None else torch.tensor(only_if)
    with Counted() as calls, HostTraffic() as traffic:
        teacher.update(0.9, only_if=flag)
    assert calls.python <= 5, "not one call a tensor"
    assert not traffic.calls


class Counted(TorchFunctionMode):
    """Counts calls into torch that Python makes."""

    python = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.python += (
            getattr(function, "__name__", "").strip("_").startswith(("foreach", "lerp", "where", "to", "copy"))
        )
        return function(*args, **(kwargs or {}))


def test_a_model_without_counters_is_followed_too():
    student = torch.nn.Linear(2, 2)
    teacher = Teacher(student)
    with torch.no_grad():
        student.weight += 1
    teacher.update(0.0, only_if=torch.tensor(True))
    assert torch.equal(teacher.model.weight, student.weight)
