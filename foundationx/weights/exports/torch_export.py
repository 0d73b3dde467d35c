"""The backbone as a program of ``torch.export``: it runs without foundationx and without mm* packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from foundationx.core import openmmlab
from foundationx.core.atomic_write import replacing
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source, normalising


def trace(model: FoundationModel, config: RunConfig) -> ExportedProgram:
    """The backbone's program for (B, 3, S, S) normalised images of the run's size S; B is free.

    Raises:
        ConfigError: The backbone does what torch.export cannot follow.
    """
    backbone = model.backbone.eval()
    images = torch.zeros(2, 3, config.image_size, config.image_size, device=next(backbone.parameters()).device)
    try:
        with torch.no_grad(), openmmlab.quiet(), _free_batch(backbone):
            program = torch.export.export(backbone, (images,), dynamic_shapes=({0: Dim("batch", min=1)},))
    except Exception as error:  # torch.export fails with errors of many kinds
        found = f"{config.model.backbone['type']}: {type(error).__name__}: {str(error).splitlines()[0]}"
        fix = "export another format"
        raise ConfigError("torch.export", found, "a backbone that torch.export can follow", fix) from error
    for node in program.graph.nodes:  # lines of code with the paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def write_program(source: Source, path: Path) -> str:
    """Writes a ``.pt2`` file; the metadata of ``describe`` are extra files in it.

    Raises:
        ConfigError: The backbone cannot be traced.
    """
    program = trace(source.model, source.config)
    with replacing(path) as partial, open(partial, "xb") as stream:
        torch.export.save(program, stream, extra_files=describe(source))
    size = source.config.image_size
    return f"""import torch
net = torch.export.load({str(path)!r}).module()
grey = torch.zeros(1, 1, {size}, {size})  # stretched to {size} x {size}, in [0, 1], bones bright
{normalising(source.config, "torch.tensor", "torch.float32")}
stages = net(images)  # maps of every stage, the finest first"""


@contextmanager
def _free_batch(net: nn.Module) -> Iterator[None]:
    """Replaces a method of Swin in mmdet and mmseg whose float division would fix the batch size in the program."""
    attentions = [module for module in net.modules() if hasattr(module, "window_reverse")]
    for module in attentions:
        vars(module)["window_reverse"] = partial(_window_reverse, module.window_size)
    try:
        yield
    finally:
        for module in attentions:
            del vars(module)["window_reverse"]


def _window_reverse(size: Any, windows: Tensor, height: int, width: int) -> Tensor:
    """(B * number, size, size, C) windows, row by row, to maps (B, height, width, C)."""
    rows = windows.view(-1, height // size, width // size, size, size, windows.shape[-1])
    return rows.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])


FORMAT = Format(write_program, "_backbone.pt2", "PyTorch without foundationx; AOTInductor")
