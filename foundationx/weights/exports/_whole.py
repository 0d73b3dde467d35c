"""A whole model as one network: a grey image of any size in, what ``foundationx predict`` finds out.

Resizing is part of it. OpenCV's is computed again in operations that graphs have: averages of areas if the image
shrinks, its fixed-point interpolation if it grows. Sizes stay symbols, so that one graph takes every image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from foundationx.core import openmmlab
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.strict_json import to_exact_json
from foundationx.core.types import TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.formats import Source

LEAST, LARGEST = 16, 16384
"""Sides in pixels of the images that a whole model takes."""

SLIVER = 1e-3
"""Shares of a pixel below this do not count in an average of an area, as in OpenCV."""

UNIT = 2048
"""OpenCV interpolates bytes with weights that are multiples of 1 / 2048."""


class WholeModel(nn.Module):
    """Pre-processing, network and post-processing of several heads.

    Args:
        model: Trained model in evaluation mode.
        config: Run configuration: image size, mean and standard deviation.
        heads: Heads to run.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: FoundationModel, config: RunConfig, heads: Sequence[TaskKey]):
        super().__init__()
        self.model, self.heads, self.side = model, tuple(heads), config.image_size
        normalise = Normaliser(config.model, next(model.parameters()).device)
        self.register_buffer("scale", normalise.scale)
        self.register_buffer("shift", normalise.shift)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """An image (H, W) uint8 to the outputs that :func:`output_names` names."""
        square = resize(image, self.side)
        pixels = square[None, None].float() * self.scale + self.shift
        size = torch.stack([image.shape[1] * torch.ones(()), image.shape[0] * torch.ones(())])
        outputs: list[Tensor] = []
        for prediction in self.model.predict_all(pixels, self.heads).values():
            for field in dataclasses.fields(cast(Any, prediction)):  # what a task predicts is a dataclass
                outputs.append(in_pixels(field.name, getattr(prediction, field.name)[0], image, size))
        return tuple(outputs)


def fields_of(prediction: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a prediction for one image by the name of their output, in the order of the fields.

    What the task keeps as shares of the image, ``relative_NAME``, is the output ``NAME`` in pixels.
    """
    for field in dataclasses.fields(prediction):
        yield field.name.removeprefix("relative_"), getattr(prediction, field.name)[0]


def in_pixels(name: str, value: Tensor, image: Tensor, size: Tensor) -> Tensor:
    """A field for the image as it was given: x and y in its pixels, probabilities of masks at its size."""
    if name.startswith("relative_"):
        return value.clamp(0, 1) * size.repeat(value.shape[-1] // 2)
    if name == "masks":
        shape = (image.shape[0], image.shape[1])
        return F.interpolate(value[None], size=shape, mode="bilinear", align_corners=False)[0]
    return value


def output_names(model: FoundationModel, config: RunConfig, heads: Sequence[TaskKey]) -> list[str]:
    """``dataset/task/probabilities``, ``.../boxes`` ... in the order of the outputs."""
    image = torch.zeros(1, 3, config.image_size, config.image_size, device=next(model.parameters()).device)
    with torch.no_grad():
        predictions = model.predict_all(image, heads)
    return [f"{key}/{name}" for key, prediction in predictions.items() for name, _ in fields_of(prediction)]


def resize(image: Tensor, side: int) -> Tensor:
    """An image (H, W) uint8 stretched to (side, side), bytes as floats, as ``foundationx predict`` does with OpenCV."""
    values = image.to(torch.float64)
    rows, columns = torch.arange(image.shape[0], device=image.device), torch.arange(image.shape[1], device=image.device)
    height, width = (axis[-1].to(torch.float64) + 1 for axis in (rows, columns))
    averaged = _area_weights(rows, height, side).to(torch.float32) @ image.to(torch.float32)
    averaged = averaged @ _area_weights(columns, width, side).to(torch.float32).T
    halves_up = ((height == 2 * side) & (width == 2 * side)).to(torch.float32) * 1e-3  # OpenCV's fast way for 2 x 2
    averaged = torch.round(averaged + halves_up)
    shrinks = (height >= side) & (width >= side)
    return torch.where(shrinks, averaged, _interpolated(values, height, width, side).to(torch.float32)).clamp(0, 255)


def _area_weights(cells: Tensor, length: Tensor, side: int) -> Tensor:
    """Share of each cell (n,) of an axis in each of ``side`` equal parts of it, (side, n)."""
    scale = length / side
    start = torch.arange(side, device=cells.device)[:, None] * scale
    left = cells.to(torch.float64)[None]
    shared = torch.minimum(left + 1, start + scale) - torch.maximum(left, start)
    return torch.where(shared > SLIVER, shared, 0.0) / scale


def _interpolated(values: Tensor, height: Tensor, width: Tensor, side: int) -> Tensor:
    """OpenCV's linear interpolation of bytes: whole numbers, kept in doubles, which hold them exactly.

    Beyond the first and last column OpenCV takes the column itself, but two shares of the first or last row.
    """
    column, share = _positions(width, side, values.device)
    share = torch.where((column >= 0) & (column < width - 1), share, 0.0)
    left, right = (_clipped(index, width) for index in (column, column + 1))
    lines = torch.floor((values[:, left] * (UNIT - share) + values[:, right] * share) / 16)
    row, share = _positions(height, side, values.device)
    upper, lower = (lines[_clipped(index, height)] for index in (row, row + 1))
    upper = torch.floor(upper * (UNIT - share)[:, None] / 65536)
    lower = torch.floor(lower * share[:, None] / 65536)
    return torch.floor((upper + lower + 2) / 4)


def _positions(length: Tensor, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each of ``side`` positions along an axis: the cell before it, and the weight of the one after it, of UNIT."""
    position = ((torch.arange(side, device=device) + 0.5) * (length / side) - 0.5).to(torch.float32)
    cell = torch.floor(position)
    return cell.to(torch.float64), torch.round((position - cell) * UNIT).to(torch.float64)


def _clipped(index: Tensor, length: Tensor) -> Tensor:
    """Whole numbers from 0 to ``length`` - 1."""
    return torch.minimum(index.clamp(min=0), length - 1).long()


def trace_whole(source: Source) -> tuple[ExportedProgram, list[str]]:
    """The program of a whole model, and the names of its outputs.

    Raises:
        ConfigError: The network does what torch.export cannot follow.
    """
    model = source.model.eval()
    names = output_names(model, source.config, source.heads)
    whole = WholeModel(model, source.config, source.heads).eval()
    example = torch.zeros(source.config.image_size + 30, source.config.image_size + 50, dtype=torch.uint8)
    sides = {axis: Dim(name, min=LEAST, max=LARGEST) for axis, name in enumerate(("height", "width"))}
    try:
        with torch.no_grad(), openmmlab.quiet():
            program = torch.export.export(whole, (example,), dynamic_shapes=(sides,))
    except Exception as error:  # torch.export fails with errors of many kinds
        found = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        fix = "choose other heads with --head, or export the backbone alone"
        raise ConfigError("torch.export", found, "a network that torch.export can follow", fix) from error
    for node in program.graph.nodes:  # lines of code with the paths of this machine
        node.meta.pop("stack_trace", None)
    return program, names


def describe_heads(source: Source, names: Sequence[str]) -> Mapping[str, str]:
    """Metadata of a whole model: what each head's outputs are, its classes with codes, and thresholds."""
    heads = {}
    for key in source.heads:
        heads[str(key)] = {
            "task": key.task.value,
            "classes": list(source.model.classes[key]),
            "codes": {name: dict(codes) for name, codes in source.codes.get(key, {}).items()},
            "thresholds": dict(source.thresholds.get(key, {})),
            "outputs": [name for name in names if name.startswith(f"{key}/")],
        }
    return {"heads": to_exact_json(heads), "outputs": to_exact_json(list(names)), "input": "(H, W) uint8, grey"}
