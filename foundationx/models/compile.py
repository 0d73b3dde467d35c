"""Backbone and trunks compiled, each for itself (``anchors.md`` section 2.5); heads and the matching stay as they are.

A compiled part is compiled anew for every combination of what is trained, evaluation or training mode, graph or none,
precision and shape. So that these stay few:

- a part of which nothing is trained, with nothing trained below it, runs without gradients: then it does not matter
  which parameters are marked as trained, and lock phases, evaluation and the teacher can share what was compiled;
- shapes are fixed: batches of training are full, the last batch of an evaluation is filled up;
- how many are needed is known from the plan. One more is an error: torch would go on uncompiled and only warn.

Names of weights do not change, and a copy of a compiled model is not compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from foundationx.core.errors import CompileError, ConfigError
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Prediction

Backend = str | Callable[..., Any]
"""Name of one of torch's backends, or a function that makes a graph callable."""

WITHOUT = "leave runtime.compile out"


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """What is compiled of a model, by module name: its backbone and the trunks that compute something."""
    trunks = {f"trunks.{task}": trunk for task, trunk in model.trunks.items() if [*trunk.parameters()]}
    return {"backbone": model.backbone} | trunks


def compile_parts(model: nn.Module, backend: Backend, limit: int) -> None:
    """Compiles each part when it is first used.

    Args:
        model: student or teacher; one after the other, since a copy is not compiled.
        backend: of torch.
        limit: most graphs of one part, student's and teacher's together. One more raises CompileError.
    """
    from torch._dynamo import config as dynamo  # here: whoever does not compile does not wait for it

    dynamo.recompile_limit = max(dynamo.recompile_limit, limit)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, limit)
    dynamo.fail_on_recompile_limit_hit = True
    for part in parts_of(model).values():
        part.compile(backend=backend, dynamic=False)


def is_compiled(part: nn.Module) -> bool:
    """The part was compiled, or will be when it is used."""
    return part._compiled_call_impl is not None


def _has_compiled(model: nn.Module) -> bool:
    """Its backbone was compiled, if it has one."""
    return any(is_compiled(child) for child in model.children())


def run_part(part: nn.Module, value: Any, *narrowed: Any) -> Any:
    """What a part makes of its input; without a graph where it is compiled and nothing is trained in it or below it.

    ``narrowed`` are further arguments of a compiled part with a graph: they leave out what is not used above it. Else
    its parameters would get a gradient of zero in place of none, and the optimizer would move them.

    Raises:
        CompileError: it had to be compiled more often than planned.
    """
    if not is_compiled(part):
        return part(value)
    from torch._dynamo import config, exc

    tracked = torch.is_grad_enabled() and _is_trained(part, value)
    try:
        with torch.set_grad_enabled(tracked):
            return part(value, *narrowed) if tracked else part(value)
    except exc.FailOnRecompileLimitHit as error:
        found = f"one graph more than the {config.recompile_limit} that the plan needs"
        raise CompileError(type(part).__name__, found, "fixed shapes", f"{WITHOUT} and report this") from error
    except exc.BackendCompilerFailed as error:
        found = f"cannot be compiled: {_last_line(error)}"
        raise CompileError(type(part).__name__, found, fix=WITHOUT) from error


def _is_trained(part: nn.Module, value: Any) -> bool:
    """Something of the part is trained, or something below it, whose output ``value`` is."""
    inputs = (leaf.requires_grad for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
    return any(inputs) or any(parameter.requires_grad for parameter in part.parameters())


def plainly(model: nn.Module) -> AbstractContextManager[Any]:
    """What is inside runs uncompiled: looks at shapes that are not the plan's."""
    return torch.compiler.set_stance("force_eager") if _has_compiled(model) else nullcontext()


def predict_full(model: nn.Module, images: Tensor, key: Any, size: int) -> Prediction:
    """``model.predict``; where the model is compiled, a batch of fewer than ``size`` images is filled up.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W), normalised; B <= ``size``.
        key: of the head.
        size: images of a full batch.

    Returns:
        Of the B images. Every image is predicted for itself in evaluation mode, so what fills up makes no difference.
    """
    count = len(images)
    if count == size or not _has_compiled(model):
        return model.predict(images, key)
    filled = torch.cat([images, images[-1:].expand(size - count, -1, -1, -1)])
    return map_tensors(model.predict(filled, key), lambda tensor: tensor[:count])


def check_backend(backend: Backend, device: torch.device) -> None:
    """Compiles one addition. Raises ConfigError where that does not work: mostly there is no compiler."""
    try:
        torch.compile(lambda values: values + 1, backend=backend)(torch.zeros(2, device=device))
    except Exception as error:  # whatever a compiler may raise
        found = f"{backend!r} cannot compile on {device.type}: {_last_line(error)}"
        fix = f"install a C++ compiler (apt install g++; on CUDA Triton as well), or {WITHOUT}"
        raise ConfigError("runtime.compile", found, "a working compiler", fix) from error


def _last_line(error: BaseException) -> str:
    """What the innermost error says, in one line."""
    while inner := getattr(error, "inner_exception", None) or error.__cause__:
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
