"""The optimizer: one for all tasks, its groups merged by (learning rate, weight decay)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from foundationx.core import distributed
from foundationx.core.config.run import OptimizerConfig
from foundationx.core.errors import ConfigError, nearest
from foundationx.engine.schedule.curves import Schedule, build_curve, warmup
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.models.parameter_groups import blocks_above, lr_groups

_CLIP_EPSILON = 1e-6
"""Added to a norm by torch before it divides by it."""


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Whether torch warns of something else than of parameters that lock or release: each phase's are meant to."""
    return "trainable parameters changed" not in record.getMessage()


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """AdamW or SGD over every parameter of the model, each in exactly one group.

    Locked parameters stay in their group: they have no gradient, and both leave those untouched. Each group keeps its
    full learning rate as ``base_lr``; the schedule scales it. If it is ``sharded``, each of several ranks keeps the
    state of its share of the parameters (ZeRO stage 1, PyTorch's own).

    Raises:
        ConfigError: ``lr_scale`` names a group that the model does not have.
    """
    settings = [
        {"params": [parameter for _, parameter in members], "lr": lr, "base_lr": lr, "weight_decay": decay}
        for (lr, decay), members in _grouped(model, config).items()
    ]
    fused = config.fused if config.fused is not None else next(model.parameters()).is_cuda or None
    kind: type[Optimizer]
    further: dict[str, Any]
    if config.type == "sgd":
        kind, further = torch.optim.SGD, {"momentum": config.momentum, "nesterov": config.momentum > 0}
    else:
        kind, further = torch.optim.AdamW, {"betas": config.betas}
    if config.sharded and distributed.world_size() > 1:
        from torch.distributed.optim import ZeroRedundancyOptimizer  # of no use to one process

        logging.getLogger(ZeroRedundancyOptimizer.__module__).addFilter(_is_unexpected)
        return ZeroRedundancyOptimizer(settings, kind, lr=config.lr, fused=fused, **further)
    return kind(settings, fused=fused, **further)


def _grouped(model: nn.Module, config: OptimizerConfig) -> dict[tuple[float, float], list[tuple[str, nn.Parameter]]]:
    """Parameters with their names, by learning rate and weight decay. Raises ConfigError."""
    members: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    known: set[str] = set()
    groups = lr_groups(model)
    above = blocks_above(model) if config.layer_decay < 1 else {}
    for name, parameter in model.named_parameters():
        group, task = groups[name]
        known |= {group, f"{group}.{task}"}
        scale = config.lr_scale.get(f"{group}.{task}", config.lr_scale.get(group, 1.0))
        if above.get(name):
            scale *= config.layer_decay ** above[name]
        decays = config.decay_norms_and_biases or parameter.ndim > 1
        decay = config.weight_decay if decays else 0.0
        members.setdefault((config.lr * scale, decay), []).append((name, parameter))
    for name in config.lr_scale:
        if name not in known:
            raise ConfigError(f"optimizer.lr_scale.{name}", "the model has no such group", nearest(name, known))
    return members


def adapted_state(
    state: dict[str, Any], model: nn.Module, before: OptimizerConfig, now: OptimizerConfig, optimizer: Optimizer
) -> dict[str, Any]:
    """A stored state of the optimizer with the settings of another configuration: moments stay with their parameters.

    Args:
        state: State dict of an optimizer that ``before`` built.
        model: Model whose parameters it trains.
        before: Configuration that the state was stored under.
        now: Configuration that built ``optimizer``; it may sort the parameters into other groups.
        optimizer: Optimizer that is to load the state.
    """
    order = {name: index for index, name in enumerate(_names(model, before))}
    moved = {
        index: state["state"][order[name]]
        for index, name in enumerate(_names(model, now))
        if order[name] in state["state"]
    }
    groups, first = [], 0
    for group in optimizer.param_groups:
        indices = list(range(first, first + len(group["params"])))
        groups.append({name: value for name, value in group.items() if name != "params"} | {"params": indices})
        first += len(indices)
    return {"state": moved, "param_groups": groups}


def check_state(optimizer: Optimizer) -> None:
    """Raises ValueError if the loaded state lacks an entry, or one has another shape or is not finite."""
    states = {parameter: state for parameter, state in optimizer.state.items() if state}
    if len({frozenset(state) for state in states.values()}) > 1:
        raise ValueError("the optimizer's state lacks an entry")
    for parameter, state in states.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                if value.ndim and value.shape != parameter.shape:
                    raise ValueError(
                        f"the optimizer's {name} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}"
                    )
                if not bool(torch.isfinite(value).all()):
                    raise ValueError(f"the optimizer's {name} is not finite")
            elif value is not None:
                raise ValueError(f"the optimizer's {name} is a {type(value).__name__}")


def _names(model: nn.Module, config: OptimizerConfig) -> list[str]:
    """Names of the parameters in the order in which an optimizer numbers them."""
    return [name for members in _grouped(model, config).values() for name, _ in members]


def whole_state(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state as one process would have it; to be called on all ranks, of use on the first."""
    consolidate = getattr(optimizer, "consolidate_state_dict", None)
    if consolidate is not None:  # the state of a sharded one is spread over the ranks
        consolidate(to=0)
        if not distributed.is_main_process():
            return {}
    return optimizer.state_dict()


def lr_schedule(config: OptimizerConfig) -> Schedule:
    """Factor on every learning rate, by the share of all steps done: linear warm-up, then the configured curve."""
    return warmup(build_curve(config.curve), config.warmup) if config.warmup else build_curve(config.curve)


def learning_rate(config: OptimizerConfig, plan: Plan) -> Callable[[Phase, int], float]:
    """Factor on every learning rate in a phase, when so many steps have been done.

    By default a function of the share of steps done. With ``every_cycle`` it is a function of the share of visits, and
    changes at the start of a cycle only, as released Foundation X has it (``docs/methods/foundation_x.md``,
    "3.2 Optimizer and learning rate").
    """
    factor = lr_schedule(config)
    if not config.every_cycle:
        return lambda phase, step: factor((step - 0.5) / plan.total_steps)
    first_visit: dict[int, int] = {}
    for phase in plan.phases:
        first_visit.setdefault(phase.cycle, phase.visit)
    return lambda phase, step: factor(first_visit[phase.cycle] / plan.total_visits)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Scales every group's full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def trained_parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    """Parameters that received a gradient."""
    return (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None)


def clipped_norm(trained: Sequence[nn.Parameter], limit: float | None, *, may_read: bool) -> Tensor:
    """Clips the gradients to a norm, as ``clip_grad_norm_`` does, to the bit.

    Args:
        trained: Parameters with a gradient.
        limit: Largest norm; None: gradients are not clipped.
        may_read: The host may look at the norm, which is free on the CPU: a pass over all gradients that would multiply
            them by 1 is left out.

    Returns:
        Norm () of the gradients before, on their device.
    """
    norm = get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    if limit is not None and not (may_read and limit / (norm + _CLIP_EPSILON) >= 1):
        clip_grads_with_norm_(trained, limit, norm)
    return norm
