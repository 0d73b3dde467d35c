"""Optimizer steps that are skipped, by hand: what is told of them, how many in a row are too many, what goes back."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from foundationx.core.types import Task, TaskKey
from foundationx.engine import nonfinite
from foundationx.engine.hooks import Incident
from foundationx.engine.nonfinite import NonFiniteCheck

NAN, INF = float("nan"), float("inf")
KEY = TaskKey("a", Task.DETECTION)
LOSS = "the loss is not finite: optimizer step skipped"
GRADIENT = "the gradient is not finite: optimizer step skipped"


def model_of():
    """One weight; statistics, their counter, and a table of indices, all 1."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    model.register_buffer("mean", torch.ones(2))
    model.register_buffer("count", torch.ones((), dtype=torch.int64))
    model.register_buffer("table", torch.ones(2, dtype=torch.int64))
    return model


def check_of(model, limit=2, fused=False):
    return NonFiniteCheck(model, torch.optim.SGD(model.parameters(), lr=0.5, fused=fused), limit)


def batch(step):
    return SimpleNamespace(key=KEY, metas=[SimpleNamespace(image=f"{step}.png")])


def update(check, step, losses, norm=1.0, elsewhere=None):
    """One optimizer step over batches with these losses, the first of which is that of a step."""
    for number, loss in enumerate(losses):
        check.begin()
        check.check(step + number, batch(step + number), torch.tensor(loss))
    for parameter in check.optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    return bool(check.update(torch.tensor(norm), elsewhere))


def told(check):
    return [(incident.step, incident.message, incident.images) for incident in check.read()]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("losses", "norm", "elsewhere", "applied"),
    [
        ([1.0], 1.0, None, True),
        ([1.0, 2.0], 0.0, None, True),
        ([NAN], 1.0, None, False),
        ([1.0, INF], 1.0, None, False),
        ([NAN, 1.0], 1.0, None, False),
        ([1.0], NAN, None, False),
        ([1.0], INF, None, False),
        ([1.0], 1.0, True, True),
        ([1.0], 1.0, False, False),
        ([1.0], NAN, True, False),
    ],
)
def test_a_step_is_done_if_all_is_finite_here_and_elsewhere(fused, losses, norm, elsewhere, applied):
    model = model_of()
    check = check_of(model, fused=fused)
    flag = None if elsewhere is None else torch.tensor(elsewhere)
    assert check.fused is fused
    assert update(check, 1, losses, norm, flag) is applied
    assert model.weight.item() == (0.5 if applied else 1.0)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("loss", [1.0, NAN])
def test_statistics_and_their_counters_go_back_to_before_the_first_batch(fused, loss):
    """A table of indices is not looked at: no forward pass changes one."""
    model = model_of()
    check = check_of(model, fused=fused)
    for step, value in ((1, loss), (2, 1.0)):
        check.begin()
        model.mean += 1
        model.count += 1
        model.table += 1
        check.check(step, batch(step), torch.tensor(value))
    model.weight.grad = torch.ones(1, 1)
    check.update(torch.tensor(1.0))
    expected = 3 if loss == 1.0 else 1
    assert model.mean.tolist() == [expected] * 2 and int(model.count) == expected and model.table.tolist() == [3, 3]


@pytest.mark.parametrize("fused", [False, True])
def test_statistics_go_back_to_those_of_the_step_before_and_no_further(fused):
    model = model_of()
    check = check_of(model, fused=fused)
    for step, loss in ((1, 1.0), (2, NAN)):
        check.begin()
        model.mean += 1
        check.check(step, batch(step), torch.tensor(loss))
        model.weight.grad = torch.ones(1, 1)
        check.update(torch.tensor(1.0))
    assert model.mean.tolist() == [2, 2]


def normalisation_of_one_type():
    """Without the counter, which is of another type than mean and variance."""
    model = nn.BatchNorm1d(2, affine=True)
    del model.num_batches_tracked
    return model


@pytest.mark.parametrize(
    ("make", "name", "before"), [(normalisation_of_one_type, "running_mean", [0, 0]), (model_of, "mean", [1, 1])]
)
def test_a_forward_pass_without_a_step_is_taken_back(make, name, before):
    model = make()
    check = check_of(model)
    check.begin()
    model.get_buffer(name).add_(1)
    check.undo()
    assert model.get_buffer(name).tolist() == before


def test_what_is_told_names_step_head_images_and_fault():
    """Of two batches of one step: the one whose loss is at fault, or both if it is the gradient alone."""
    check = check_of(model_of())
    assert told(check) == []
    update(check, 1, [1.0, 1.0])
    update(check, 3, [1.0, NAN])
    update(check, 5, [1.0, 1.0], norm=INF)
    update(check, 7, [INF])
    assert told(check) == [
        (4, LOSS, ("4.png",)), (5, GRADIENT, ("5.png",)), (6, GRADIENT, ("6.png",)), (7, LOSS, ("7.png",))
    ]  # fmt: skip
    assert told(check) == []
    update(check, 8, [NAN])
    (incident,) = check.read()
    assert incident == Incident(8, "nonfinite", LOSS, "a", "detection", ("8.png",))


def test_ranks_are_asked_only_if_a_step_was_skipped(monkeypatch):
    asked = []
    monkeypatch.setattr(nonfinite.distributed, "all_gather_object", lambda own: asked.append(own) or [own])
    check = check_of(model_of())
    update(check, 1, [1.0])
    assert check.read() == [] and asked == []
    update(check, 2, [NAN])
    assert len(check.read()) == len(asked) == 1


def test_a_loss_on_one_rank_is_to_blame_for_the_gradients_of_all(monkeypatch):
    other = [Incident(5, "nonfinite", LOSS, "b", "detection"), Incident(6, "nonfinite", GRADIENT, "b", "detection")]
    monkeypatch.setattr(nonfinite.distributed, "all_gather_object", lambda own: [own, other])
    check = check_of(model_of())
    update(check, 5, [1.0], norm=NAN)
    update(check, 6, [1.0], norm=NAN)
    assert [(i.step, i.dataset, i.message) for i in check.read()] == [
        (6, "a", GRADIENT), (5, "b", LOSS), (6, "b", GRADIENT)
    ]  # fmt: skip


def test_so_many_in_a_row_are_too_many_wherever_they_stand():
    check = check_of(model_of(), limit=3)
    course = []
    for losses in ([NAN, NAN], [1.0, NAN], [NAN, NAN, 1.0], [NAN] * 4):
        for loss in losses:
            update(check, 1, [loss])
        check.read()
        course.append((check.in_a_row, check.longest, check.is_too_much))
    assert course == [(2, 2, False), (1, 2, False), (0, 3, True), (4, 4, True)]


def test_a_run_that_goes_on_counts_on():
    first, second = check_of(model_of()), check_of(model_of())
    assert (first.in_a_row, first.longest, first.is_too_much) == (0, 0, False)
    update(first, 1, [NAN])
    first.read()
    assert first.state() == {"in_a_row": 1}
    second.restore(first.state())
    assert not second.is_too_much
    update(second, 2, [NAN])
    second.read()
    assert (second.in_a_row, second.longest, second.is_too_much) == (2, 2, True)


def test_it_is_known_whether_an_update_is_half_done():
    check = check_of(model_of())
    assert check.is_between_updates
    check.begin()
    check.check(1, batch(1), torch.tensor(1.0))
    assert not check.is_between_updates
    check.update(torch.tensor(1.0))
    assert check.is_between_updates
