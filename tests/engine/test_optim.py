"""Settings of the optimizer, its state under another configuration, and the course of the learning rate, by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from foundationx.core.config.run import OptimizerConfig
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine import optim
from foundationx.engine.optim import (
    adapted_state,
    build_optimizer,
    check_state,
    clipped_norm,
    learning_rate,
    whole_state,
)
from foundationx.engine.schedule.plan import Phase, Plan

KEY = TaskKey("a", Task.CLASSIFICATION)


class Net(nn.Module):
    """A backbone with a weight (2, 2), a bias (2) and a number (), and a head of one weight (1, 2)."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.backbone.scale = nn.Parameter(torch.ones(()))
        self.heads = nn.ModuleDict({"a__classification": nn.Linear(2, 1, bias=False)})


def settings(optimizer, model):
    """Learning rate and weight decay of each parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }


def test_matrices_decay_and_vectors_and_numbers_do_not():
    model = Net()
    found = settings(build_optimizer(model, OptimizerConfig(lr=0.5, weight_decay=0.1)), model)
    assert found == {
        "backbone.weight": (0.5, 0.1), "backbone.bias": (0.5, 0.0), "backbone.scale": (0.5, 0.0),
        "heads.a__classification.weight": (0.5, 0.1),
    }  # fmt: skip
    every = build_optimizer(model, OptimizerConfig(lr=0.5, weight_decay=0.1, decay_norms_and_biases=True))
    assert set(settings(every, model).values()) == {(0.5, 0.1)}


def test_a_task_s_scale_goes_before_that_of_its_group():
    model = Net()
    scales = {"head": 0.5, "head.classification": 0.25}
    found = settings(build_optimizer(model, OptimizerConfig(lr=1.0, lr_scale=scales)), model)
    assert found["heads.a__classification.weight"][0] == 0.25 and found["backbone.bias"][0] == 1.0


def test_blocks_below_others_learn_more_slowly(monkeypatch):
    """Half for each block above: by two, one and none."""
    above = {"backbone.weight": 2, "backbone.bias": 1, "backbone.scale": 0}
    monkeypatch.setattr(optim, "blocks_above", lambda model: above)
    model = Net()
    rates = {
        name: [lr for lr, _ in settings(build_optimizer(model, config), model).values()]
        for name, config in (
            ("half", OptimizerConfig(lr=1.0, layer_decay=0.5, lr_scale={"backbone": 0.5})),
            ("all", OptimizerConfig(lr=1.0, layer_decay=1.0)),
        )
    }
    assert sorted(rates["half"]) == [0.125, 0.25, 0.5, 1.0] and rates["all"] == [1.0] * 4


def test_what_is_built_is_what_was_asked_for():
    model = Net()
    adamw = build_optimizer(model, OptimizerConfig(betas=(0.8, 0.95)))
    assert isinstance(adamw, torch.optim.AdamW) and {group["betas"] for group in adamw.param_groups} == {(0.8, 0.95)}
    assert {group["fused"] for group in adamw.param_groups} == {None}, "on the CPU torch decides"
    for fused in (False, True):
        built = build_optimizer(model, OptimizerConfig(fused=fused))
        assert {group["fused"] for group in built.param_groups} == {fused}
    for momentum, nesterov in ((0.0, False), (0.5, True), (0.9, True)):
        sgd = build_optimizer(model, OptimizerConfig(type="sgd", momentum=momentum))
        assert isinstance(sgd, torch.optim.SGD)
        assert {(group["momentum"], group["nesterov"]) for group in sgd.param_groups} == {(momentum, nesterov)}


@pytest.mark.parametrize(
    ("sharded", "ranks", "shards"), [(True, 1, False), (False, 2, False), (True, 2, True), (True, 3, True)]
)
def test_the_state_is_spread_over_ranks_if_that_is_asked_for(monkeypatch, sharded, ranks, shards):
    made = []
    monkeypatch.setattr(
        "torch.distributed.optim.ZeroRedundancyOptimizer",
        lambda *given, **named: made.append((given, named)) or "sharded",
    )
    monkeypatch.setattr(optim.distributed, "world_size", lambda: ranks)
    built = build_optimizer(Net(), OptimizerConfig(lr=0.5, sharded=sharded))
    assert (built == "sharded") is shards and len(made) == shards
    if shards:
        assert made[0][0][1] is torch.optim.AdamW and made[0][1]["lr"] == 0.5


@pytest.mark.parametrize("is_first", [True, False])
def test_a_state_that_is_spread_is_collected_on_the_first_rank(monkeypatch, is_first):
    asked = []
    monkeypatch.setattr(optim.distributed, "is_main_process", lambda: is_first)
    spread = SimpleNamespace(consolidate_state_dict=lambda to: asked.append(to), state_dict=lambda: {"state": 1})
    assert whole_state(spread) == ({"state": 1} if is_first else {}) and asked == [0]
    assert whole_state(SimpleNamespace(state_dict=lambda: {"state": 2})) == {"state": 2}


def trained(model, config):
    """An optimizer whose moments differ from parameter to parameter."""
    optimizer = build_optimizer(model, config)
    for number, parameter in enumerate(model.parameters(), start=1):
        parameter.grad = torch.full_like(parameter, number)
    optimizer.step()
    return optimizer


def test_moments_stay_with_their_parameters_when_groups_change():
    """Four groups instead of two, in another order; a parameter that was never trained has no state."""
    model, before = Net(), OptimizerConfig()
    now = OptimizerConfig(lr=0.5, lr_scale={"backbone": 0.1}, betas=(0.5, 0.5), weight_decay=0.25)
    old = trained(model, before)
    expected = {parameter: state["exp_avg"].clone() for parameter, state in old.state.items()}
    stored = old.state_dict()
    last = stored["param_groups"][0]["params"][-1]
    left_out = old.param_groups[0]["params"][-1]
    stored["state"].pop(last)
    new = build_optimizer(model, now)
    wanted = settings(new, model)
    new.load_state_dict(adapted_state(stored, model, before, now, new))
    assert new.state.keys() == expected.keys() - {left_out}
    assert all(torch.equal(new.state[parameter]["exp_avg"], expected[parameter]) for parameter in new.state)
    assert settings(new, model) == wanted and {group["betas"] for group in new.param_groups} == {(0.5, 0.5)}
    assert [len(group["params"]) for group in new.param_groups] == [1, 2, 1]
    numbers = [index for group in new.state_dict()["param_groups"] for index in group["params"]]
    assert numbers == list(range(4))


def damaged(name, value):
    """An optimizer with one entry of one parameter's state changed; None takes it away."""
    model = Net()
    optimizer = trained(model, OptimizerConfig())
    state = optimizer.state[model.backbone.weight]
    state.pop(name)
    if value is not None:
        state[name] = value
    return optimizer


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("exp_avg", torch.zeros(2, 2), None),
        ("step", torch.tensor(9.0), None),
        ("exp_avg", None, "lacks an entry"),
        ("exp_avg", torch.zeros(2), r"exp_avg has shape \(2,\), not \(2, 2\)"),
        ("exp_avg", torch.zeros(1, 2), r"exp_avg has shape \(1, 2\)"),
        ("exp_avg", torch.zeros(3, 3), r"exp_avg has shape \(3, 3\)"),
        ("exp_avg", torch.tensor([[0.0, NAN], [0.0, 0.0]]), "exp_avg is not finite"),
        ("step", torch.tensor(NAN), "step is not finite"),
        ("step", 3, "step is a int"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name, value, message):
    optimizer = damaged(name, value)
    if message is None:
        check_state(optimizer)
    else:
        with pytest.raises(ValueError, match=message):
            check_state(optimizer)


def test_a_state_of_nothing_fits():
    check_state(build_optimizer(Net(), OptimizerConfig()))


def plan():
    """Two cycles of two visits; the second cycle begins with the third of four visits."""
    rows = [(1, 1, 0, 5), (2, 1, 5, 3), (3, 2, 8, 5), (4, 2, 13, 7)]
    return Plan(tuple(Phase(PhaseName.RELEASE, KEY, *row, (), 0.0, None, True, row[0] % 2 == 0) for row in rows))


def test_the_learning_rate_is_that_of_the_middle_of_a_step_or_of_the_cycle_s_first_visit():
    straight = {"curve": {"type": "linear", "start": 1, "end": 0}, "warmup": 0.0}
    first, *_ = phases = plan().phases
    of_steps = learning_rate(OptimizerConfig(**straight), plan())
    assert [of_steps(first, step) for step in (1, 10, 20)] == pytest.approx([0.975, 0.525, 0.025])
    warm = learning_rate(OptimizerConfig(**straight | {"warmup": 0.5}), plan())
    assert [warm(first, step) for step in (1, 10, 20)] == pytest.approx([0.05, 0.95, 0.05])
    of_cycles = learning_rate(OptimizerConfig(**straight, every_cycle=True), plan())
    assert [of_cycles(phase, 1) for phase in phases] == pytest.approx([0.75, 0.75, 0.25, 0.25])


@pytest.mark.parametrize(("limit", "touched"), [(1.0, True), (1.5, False), (0.5, True), (2.5, False), (None, False)])
def test_gradients_are_passed_over_only_if_they_are_clipped(limit, touched):
    """Their norm is 1: at a limit of 1 torch divides by 1.000001, which is not left out."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    version = parameter.grad._version
    assert float(clipped_norm([parameter], limit, may_read=True)) == 1.0
    assert (parameter.grad._version > version) is touched
    assert float(parameter.grad) == pytest.approx(min(1.0, (limit or 9.0) / (1 + 1e-6)), abs=1e-7)
    parameter.grad = torch.full((1,), 4.0)
    clipped_norm([parameter], 8.0, may_read=False)
    assert float(parameter.grad) == 4.0
