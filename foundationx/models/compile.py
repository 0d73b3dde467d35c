"""Backbone and trunks compiled, each for itself; heads and the matching stay as they are.

A part is compiled in place (``nn.Module.compile``): whoever calls it afterwards runs what was compiled, and no other
module knows. It is recompiled for every combination of what is trained, evaluation or training mode, graph or none,
precision and shape. So that these stay few:

- lock phases run what is below the head without gradients: they share what was compiled, whatever is trained above;
- shapes are fixed: batches of training are full, the last batch of an evaluation is filled up;
- how many are needed is known from the plan. One more is an error: torch would go on uncompiled and only warn.

Names of weights do not change, and a copy of a compiled model is not compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from foundationx.core.errors import CompileError, ConfigError
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Prediction, TaskKey
from foundationx.models.foundation_model import FoundationModel

Backend = str | Callable[..., Any]
"""Name of one of torch's backends, or a function that makes a graph callable."""

WITHOUT = "leave runtime.compile out"

_COMPILED: WeakSet[nn.Module] = WeakSet()
"""Parts that were compiled; their copies are not among them."""


def parts_of(model: FoundationModel) -> dict[str, nn.Module]:
    """Parts of a model that are compiled, by module name: its backbone and the trunks that have parameters."""
    trunks = {f"trunks.{task}": trunk for task, trunk in model.trunks.items() if [*trunk.parameters()]}
    return {"backbone": model.backbone} | trunks


def compile_parts(model: FoundationModel, backend: Backend, limit: int) -> None:
    """Compiles each part when it is first used.

    Args:
        model: Student or teacher; one after the other, since a copy is not compiled.
        backend: Backend of torch.
        limit: Most graphs of one part, student's and teacher's together. One more raises an error of torch, which
            :func:`compile_errors` makes a CompileError.
    """
    from torch._dynamo import config as dynamo  # here: it takes seconds, and who does not compile need not wait

    dynamo.recompile_limit = max(dynamo.recompile_limit, limit)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, limit)
    dynamo.fail_on_recompile_limit_hit = True
    dynamo.optimize_ddp = False  # a part is a piece of the step that DistributedDataParallel wraps: it stays whole
    for part in parts_of(model).values():
        part.compile(backend=backend, dynamic=False)
        _COMPILED.add(part)


def is_compiled(part: nn.Module) -> bool:
    """Whether the part was compiled, or will be when it is used."""
    return part in _COMPILED


def eager_mode(model: nn.Module) -> AbstractContextManager[Any]:
    """Inside, a compiled model runs uncompiled: for images of another shape than the plan's."""
    if any(is_compiled(child) for child in model.children()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


@contextmanager
def compile_errors() -> Iterator[None]:
    """Gives torch's errors of compiling, which come when a part is first used, our form.

    Raises:
        CompileError: A part cannot be compiled, or had to be compiled more often than planned.
    """
    try:
        yield
    except Exception as error:  # those of torch's compiler have no base of their own; all others pass on
        if type(error).__module__ != "torch._dynamo.exc":  # by name: importing it takes seconds
            raise
        from torch._dynamo import config, exc

        if isinstance(error, exc.FailOnRecompileLimitHit):
            found = f"one graph more than the {config.recompile_limit} that the plan needs"
            raise CompileError("runtime.compile", found, "fixed shapes", f"{WITHOUT} and report this") from error
        found = f"the model cannot be compiled: {_last_line(error)}"
        raise CompileError("runtime.compile", found, "a model that can be compiled", WITHOUT) from error


def predict_full(model: FoundationModel, images: Tensor, key: TaskKey, size: int) -> Prediction:
    """``model.predict``, with a batch of fewer than ``size`` images filled up if the model is compiled.

    Args:
        model: Model in evaluation mode.
        images: Normalised images, (B, 3, H, W); B <= ``size``.
        key: Head to ask.
        size: Number of images of a full batch.

    Returns:
        Predictions for the B images. In evaluation mode each image is predicted by itself, so what fills up the batch
        makes no difference.
    """
    count = len(images)
    if count == size or not is_compiled(model.backbone):
        return model.predict(images, key)
    filled = torch.cat([images, images[-1:].expand(size - count, -1, -1, -1)])
    return map_tensors(model.predict(filled, key), lambda tensor: tensor[:count])


def check_backend(backend: Backend, device: torch.device) -> None:
    """Compiles one addition. Raises ConfigError if that does not work: mostly there is no compiler."""
    try:
        torch.compile(lambda values: values + 1, backend=backend)(torch.zeros(2, device=device))
    except Exception as error:  # a backend is anybody's code: it may raise anything
        found = f"{backend!r} cannot compile on {device.type}: {_last_line(error)}"
        fix = f"install a C++ compiler (apt install g++; on CUDA Triton as well), or {WITHOUT}"
        raise ConfigError("runtime.compile", found, "a working compiler", fix) from error


def _last_line(error: BaseException) -> str:
    """First line of the innermost error's message."""
    while inner := getattr(error, "inner_exception", None) or error.__cause__:
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
