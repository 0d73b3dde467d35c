"""Deformable attention on a CPU: every query and head is a weighted sum of rows, a row being a cell's vector of a head.

``grid_sample`` reads feature by feature, ``embedding_bag`` whole rows: several times faster. Backwards, the samples are
sorted by the cell that they read, so that the gradient of the rows is once more a weighted sum, of queries; neither way
holds the samples' vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Span = tuple[int, int, int]
"""First token of a level with its rim, the one after its last, and tokens to a line."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch warns once that its interface may change; what is used of it is tested
    torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([0])[:0], torch.zeros(0), (1, 1))


def sum_rows(value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """What ``deformable.deformable_attention`` is asked for, by rows; arguments and result are the same."""
    batch, _, heads, features = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    precise = torch.promote_types(value.dtype, torch.float32)
    rows, spans = _with_rims(value.to(precise), spatial_shapes)
    heights, widths = zip(*spatial_shapes, strict=True)

    def each(numbers: Sequence[int]) -> Tensor:
        levels = [torch.full((points,), number) for number in numbers]  # a list would be copied from the host
        return torch.cat(levels).repeat(heads)  # one a sample of a query

    columns, right = _cells(locations[..., 0].flatten(2).to(precise), each(widths))
    lines, down = _cells(locations[..., 1].flatten(2).to(precise), each(heights))
    pitch = each([span[2] for span in spans])
    head = torch.arange(heads).repeat_interleave(len(spans) * points)
    offsets = spans[-1][1] * heads * torch.arange(batch)[:, None, None]
    origin = (each([span[0] for span in spans]) + pitch + 1) * heads + head  # of a level's own first cell
    first = (lines * pitch + columns) * heads + origin + offsets
    samples = [
        sample.reshape(batch * queries * heads, len(spans) * points)
        for sample in (first, right, down, weights.to(precise))
    ]
    below = pitch[: len(spans) * points] * heads
    summed = _WeightedRows.apply(rows, below, *samples, (batch, heads, spans))
    return summed.to(value.dtype).view(batch, queries, heads * features)


def _with_rims(value: Tensor, spatial_shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, list[Span]]:
    """Value (B, N, M, D) with a rim of zeros around each level, as rows (B * tokens * M, D), and where levels lie."""
    batch, _, heads, features = value.shape
    images, spans, start = [], [], 0
    levels = value.split([height * width for height, width in spatial_shapes], dim=1)
    for (height, width), level in zip(spatial_shapes, levels, strict=True):
        image = level.reshape(batch, height, width, heads * features)
        images.append(F.pad(image, (0, 0, 1, 1, 1, 1)).flatten(1, 2))
        spans.append((start, start + (height + 2) * (width + 2), width + 2))
        start = spans[-1][1]
    return torch.cat(images, dim=1).view(-1, features), spans


def _cells(locations: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Along one axis: the cell before a location, -1 for the rim, and the share of the way from it to the next.

    Args:
        locations: (B, Q, S), shares of the image; what lies further out than the rim counts as on it.
        sizes: (S,), cells along the axis of the level that a sample reads.
    """
    middles = torch.minimum((locations * sizes - 0.5).clamp(min=-1), sizes)
    before = torch.minimum(middles.detach().floor(), sizes - 1)
    return before.nan_to_num(0).long(), middles - before  # a location that is NaN has some cell and a share of NaN


def _corners(right: Tensor, down: Tensor, weights: Tensor) -> Iterator[Tensor]:
    """Weights of the four cells around each location: the one before, right of it, below it, and below that."""
    lower = down * weights
    upper = weights - lower
    for line in (upper, lower):
        further = line * right
        yield line - further
        yield further


class _WeightedRows(torch.autograd.Function):
    """Sums of rows (R, D) over bags of K locations, each being between four rows.

    ``first`` (bags, K) is the row of the cell before a location; the cell right of it lies M rows on, the one below it
    ``below`` (K,) rows on. ``right``, ``down`` (bags, K) are shares of the way to these. Gives (bags, D).
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        below: Tensor,
        first: Tensor,
        right: Tensor,
        down: Tensor,
        weights: Tensor,
        layout: tuple[int, int, list[Span]],
    ) -> Tensor:
        ctx.save_for_backward(rows, below, first, right, down, weights)
        ctx.layout = layout
        summed = rows.new_zeros(len(first), rows.shape[1])
        for steps, shares in zip(_steps(layout[1], below), _corners(right, down, weights), strict=True):
            summed += F.embedding_bag(first + steps, rows, per_sample_weights=shares, mode="sum")
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, below, first, right, down, weights = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_rows = (
            _to_rows(gradient, first, _corners(right, down, weights), ctx.layout) if ctx.needs_input_grad[0] else None
        )
        here, beside, under, across = (_dots(gradient, rows, first + steps) for steps in _steps(ctx.layout[1], below))
        upper = here + right * (beside - here)
        lower = under + right * (across - under)
        to_right = ((beside - here) * (1 - down) + (across - under) * down) * weights
        return to_rows, None, None, to_right, (lower - upper) * weights, upper + down * (lower - upper), None


def _steps(heads: int, below: Tensor) -> tuple[Tensor | int, ...]:
    """Rows from the cell before a location to each of the four."""
    return 0, heads, below, below + heads


def _dots(gradient: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """Products of each bag's gradient (bags, D) with the rows that ``indices`` (bags, K) name."""
    bags, samples = indices.shape
    ends = torch.arange(0, bags * samples + 1, samples)
    pattern = torch.sparse_csr_tensor(
        ends, indices.flatten(), gradient.new_zeros(bags * samples), (bags, len(rows)), check_invariants=False
    )  # a bag may name a row twice, in any order, which the invariants forbid and the product does not mind
    return torch.sparse.sampled_addmm(pattern, gradient, rows.t(), beta=0.0).values().view_as(indices)


def _to_rows(gradient: Tensor, first: Tensor, corners: Iterator[Tensor], layout: tuple[int, int, list[Span]]) -> Tensor:
    """Gradient of the rows, from that of the bags (bags, D)."""
    batch, heads, spans = layout
    named, order = first.flatten().sort(stable=True)
    ends = torch.searchsorted(named, torch.arange(batch * heads * spans[-1][1]))
    bags = order // first.shape[1]
    total = None
    for (right, down), shares in zip(((0, 0), (1, 0), (0, 1), (1, 1)), corners, strict=True):
        sorted_shares = shares.flatten().index_select(0, order)
        sums = F.embedding_bag(bags, gradient, ends, per_sample_weights=sorted_shares, mode="sum")
        sums = sums.view(batch, spans[-1][1], heads * gradient.shape[1])
        if total is None:
            total = sums
            continue
        for start, end, width in spans:
            step = right + down * width
            total[:, start + step : end] += sums[:, start : end - step]
    assert total is not None
    return total.view(-1, gradient.shape[1])
