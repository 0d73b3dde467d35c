"""Scattered points: geometry, sampling and blocks against slow loops, hand-worked numbers and mmdet."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from foundationx.tasks.points.blocks import PointBlock, PointEncoder, PointMover, PointScatter, TokenClassifier
from foundationx.tasks.points.geometry import (
    bounds,
    centres_and_sizes,
    rectangle_directions,
    scatter,
    side_directions,
    start_biases,
)
from foundationx.tasks.points.options import ClassPointOptions
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk
from foundationx.tasks.points.sampling import PER_CELL, POOLED, pool_regions, sample_points

PUBLISHED = ClassPointOptions()
SMALL = ClassPointOptions(channels=16, attention_heads=2, dropout=0.0, points=8)


def size_of(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def draw_pyramid(batch=3, channels=16, sides=((16, 12), (8, 6), (4, 3)), dtype=torch.float32):
    return Pyramid.of([torch.randn(batch, channels, *side, dtype=dtype) for side in sides])


def draw_regions(batch=3, count=5):
    corners = torch.rand(batch, count, 2, 2).sort(dim=2).values
    return torch.cat([corners[:, :, 0], corners[:, :, 1]], dim=2)


def slow_sample(level, x, y, as_released):
    """Bilinear feature of one level (C, rows, columns) at a position in shares, corner by corner."""
    rows, columns = level.shape[1:]
    shift = 0.0 if as_released else 0.5
    picked = []
    for place, length in ((float(x) * columns - shift, columns), (float(y) * rows - shift, rows)):
        if not as_released:
            place = max(place, 0.0)
        place = min(place, length - 1.0)
        low = min(max(math.floor(place), 0), max(length - 2, 0))
        picked.append((low, min(low + 1, length - 1), place - low))
    (left, right, across), (top, bottom, down) = picked
    upper = level[:, top, left] * (1 - across) + level[:, top, right] * across
    lower = level[:, bottom, left] * (1 - across) + level[:, bottom, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("sides", [((16, 12), (8, 6), (4, 3)), ((5, 7),), ((2, 2), (1, 1))])
def test_sampling_equals_a_slow_loop(sides, as_released):
    torch.manual_seed(0)
    pyramid = draw_pyramid(sides=sides)
    points = torch.rand(3, 5, 4, 2) * 1.6 - 0.3  # some lie outside
    levels = torch.randint(len(sides), (3, 5))
    found = sample_points(pyramid, points, levels, as_released=as_released)
    maps = pyramid.maps()
    for image in range(3):
        for region in range(5):
            for number, (x, y) in enumerate(points[image, region]):
                level = maps[levels[image, region]][image]
                expected = slow_sample(level, x, y, as_released)
                torch.testing.assert_close(found[image, region, number], expected, rtol=1e-4, atol=1e-5)


def test_released_sampling_extrapolates_at_the_low_side_alone():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # the feature is the column
    pyramid = Pyramid.of([ramp, ramp[..., ::2, ::2]])
    points = torch.tensor([[[[-0.25, 0.5], [1.25, 0.5]]]])
    levels = torch.zeros(1, 1, dtype=torch.int64)
    assert sample_points(pyramid, points, levels, as_released=True).flatten().tolist() == [-2.0, 7.0]
    assert sample_points(pyramid, points, levels).flatten().tolist() == [0.0, 7.0]


def test_sampling_of_one_level_and_of_several_is_the_same():
    pyramid = draw_pyramid(sides=((6, 9),))
    twice = Pyramid.of([*pyramid.maps(), torch.zeros(3, 16, 2, 2)])
    points, levels = torch.rand(3, 5, 4, 2) * 1.4 - 0.2, torch.zeros(3, 5, dtype=torch.int64)
    torch.testing.assert_close(sample_points(pyramid, points, levels), sample_points(twice, points, levels))


def test_features_at_cell_centres_are_those_of_the_cells():
    """Where RoIAlign of a region of one cell has its one sample."""
    pyramid = draw_pyramid(batch=1, sides=((4, 4), (2, 2)))
    shares = (torch.arange(4) + 0.5) / 4
    points = torch.stack(torch.meshgrid(shares, shares, indexing="xy"), dim=-1).view(1, 1, 16, 2)
    found = sample_points(pyramid, points, torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(found[0, 0].T.reshape(16, 4, 4), pyramid.maps()[0][0])


def slow_roi_align(level, region):
    """RoIAlign (He et al., 2017) of one region: the mean of ``PER_CELL`` x ``PER_CELL`` samples in each cell."""
    x1, y1, x2, y2 = (float(value) for value in region)
    cells = []
    for row in range(POOLED):
        for column in range(POOLED):
            total = torch.zeros(len(level))
            for down in range(PER_CELL):
                for across in range(PER_CELL):
                    x = x1 + (column + (across + 0.5) / PER_CELL) * (x2 - x1) / POOLED
                    y = y1 + (row + (down + 0.5) / PER_CELL) * (y2 - y1) / POOLED
                    total += slow_sample(level, x, y, as_released=False)
            cells.append(total / PER_CELL**2)
    return torch.stack(cells)


@pytest.mark.parametrize("sides", [((16, 12), (8, 6)), ((7, 7),)])
def test_pooling_is_roi_align(sides):
    torch.manual_seed(1)
    pyramid, regions = draw_pyramid(batch=2, channels=3, sides=sides), draw_regions(2, 3)
    levels = torch.randint(len(sides), (2, 3))
    found = pool_regions(pyramid, regions, levels)
    for image in range(2):
        for region in range(3):
            expected = slow_roi_align(pyramid.maps()[levels[image, region]][image], regions[image, region])
            torch.testing.assert_close(found[image, region], expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_sampling_are_those_of_finite_differences():
    torch.manual_seed(2)
    pyramid = draw_pyramid(batch=2, channels=2, sides=((5, 4), (3, 2)), dtype=torch.float64)
    points = (torch.rand(2, 2, 3, 2, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    memory, levels = pyramid.memory.clone().requires_grad_(), torch.tensor([[0, 1], [1, 0]])

    def sampled(memory, points):
        return sample_points(Pyramid(memory, pyramid.spatial_shapes), points, levels)

    assert torch.autograd.gradcheck(sampled, (memory, points))


def test_levels_are_those_of_mmdet():
    from foundationx.core import openmmlab

    openmmlab.prepare()
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    regions = draw_regions(1, 300) * torch.rand(1, 300, 1)
    pixels = torch.cat([torch.zeros(300, 1), regions[0] * 1024], dim=1)  # stride 4: 256 cells
    extractor = SimpleNamespace(finest_scale=56)
    expected = SingleRoIExtractor.map_roi_levels(extractor, pixels, 4)
    pyramid = Pyramid(torch.zeros(1, 1, 1), ((256, 256), (128, 128), (64, 64), (32, 32)))
    levels = pyramid.level_of(regions)[0]
    assert levels.tolist() == expected.tolist() and len(levels.unique()) == 4


def test_a_pyramid_gives_its_levels_again():
    maps = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3), torch.randn(2, 3, 1, 2)]
    pyramid = Pyramid.of(maps)
    assert all(torch.equal(one, other) for one, other in zip(pyramid.maps(), maps, strict=True))
    assert pyramid.levels(2).spatial_shapes == ((4, 6), (2, 3))
    assert torch.equal(pyramid.levels(2).maps()[1], maps[1])
    assert pyramid.pixel().tolist() == pytest.approx([1 / 24, 1 / 16])


def test_blocks_have_the_published_numbers_of_parameters():
    assert size_of(PointBlock(256, 8, 0.1)) == 395_008
    offsets, shifts = start_biases(side_directions(16))
    assert size_of(PointScatter(PUBLISHED, offsets)) == 3_219_744
    assert size_of(PointEncoder(PUBLISHED, 2), TokenClassifier(17, 81, PUBLISHED)) == 5_330_769
    iou = 257
    place = size_of(PointEncoder(PUBLISHED, 3), PointMover(16, 512, shifts, PUBLISHED, copies=81)) + iou
    assert place == 4_612_897
    assert 3_219_744 + 5_330_769 + place == 13_163_410
    outline_offsets, outline_shifts = start_biases(rectangle_directions(36))
    outline = (
        PointScatter(PUBLISHED, outline_offsets),
        PointEncoder(PUBLISHED, 3, has_token=False),
        PointMover(36, 1024, outline_shifts, PUBLISHED),
    )
    assert size_of(*outline) == 13_927_056


@pytest.mark.parametrize("points", [4, 16, 36])
def test_the_first_box_is_the_region(points):
    torch.manual_seed(3)
    pyramid, regions = draw_pyramid(), draw_regions()
    for directions in (side_directions(points), rectangle_directions(points)):
        offsets, shifts = start_biases(directions)
        assert len(offsets) == points
        scattered = PointScatter(SMALL, offsets)(pyramid, regions)
        mover = PointMover(points, 8, shifts, SMALL)
        moved = scattered.moved(mover(scattered.features)[:, :, 0])
        torch.testing.assert_close(bounds(moved), regions, atol=0.02, rtol=0)
        exact = scattered.points * 0 + scatter(*centres_and_sizes(regions), offsets)
        size = regions[..., 2:] - regions[..., :2]
        torch.testing.assert_close(bounds(exact + 0.5 * shifts * size[:, :, None]), regions)


def test_a_released_region_is_a_pixel_larger():
    pyramid = Pyramid.of([torch.zeros(1, 16, 8, 8), torch.zeros(1, 16, 4, 4)])  # 32 pixels: one is 1 / 32
    region = torch.tensor([[[0.25, 0.25, 0.5, 0.75]]])
    for as_released, expected in ((False, [0.25, 0.5]), (True, [0.25 + 1 / 32, 0.5 + 1 / 32])):
        options = SMALL.model_copy(update={"as_released": as_released})
        scattered = PointScatter(options, start_biases(side_directions(8))[0])(pyramid, region)
        assert scattered.size[0, 0].tolist() == pytest.approx(expected)


def test_the_rectangle_is_walked_clockwise_from_the_middle_of_its_left():
    walked = rectangle_directions(36)
    assert walked[0].tolist() == [-1, 0]
    assert (walked.abs().amax(dim=1) == 1).all()
    steps = (walked.roll(-1, 0) - walked).abs().sum(dim=1)
    torch.testing.assert_close(steps, torch.full((36,), 8 / 36))  # along the sides, round corners too
    assert walked[9].tolist() == pytest.approx([0, -1], abs=1e-6)
    assert walked[18].tolist() == pytest.approx([1, 0], abs=1e-6)
    assert [(walked[:, 0] == -1).sum(), (walked[:, 0] == 1).sum()] == [9, 9]
    assert [(walked[:, 1] == -1).sum(), (walked[:, 1] == 1).sum()] == [9, 9]


def test_gradients_reach_the_offsets_by_features_and_by_places():
    torch.manual_seed(4)
    pyramid, regions = draw_pyramid(), draw_regions()
    scatterer = PointScatter(SMALL, start_biases(side_directions(8))[0])
    for of in ("features", "points"):
        scatterer.zero_grad()
        getattr(scatterer(pyramid, regions), of).square().sum().backward()
        assert scatterer.offsets.weight.grad.abs().sum() > 0
        assert scatterer.hidden.weight.grad.abs().sum() > 0


def test_permuting_images_permutes_what_comes_out():
    torch.manual_seed(5)
    pyramid, regions, order = draw_pyramid(), draw_regions(), torch.tensor([2, 0, 1])
    scatterer, encoder = PointScatter(SMALL, start_biases(side_directions(8))[0]), PointEncoder(SMALL, 2)
    with torch.no_grad():
        encoded = encoder(scatterer(pyramid, regions).features)
        other = Pyramid(pyramid.memory[order], pyramid.spatial_shapes)
        again = encoder(scatterer(other, regions[order]).features)
    torch.testing.assert_close(again, encoded[order])


def test_a_block_is_the_published_formula():
    torch.manual_seed(6)
    block, tokens = PointBlock(16, 2, 0.1).eval(), torch.randn(3, 5, 16)
    normed = F.layer_norm(tokens, (16,), block.attention_norm.weight, block.attention_norm.bias)
    query, key, value = (normed @ block.qkv.weight.T).split(16, dim=2)
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(8)).softmax(dim=2)
        heads.append(weights @ value[..., head])
    between = tokens + block.projection(torch.cat(heads, dim=2))
    expected = between + block.mlp_out(F.gelu(block.mlp_in(block.mlp_norm(between))))
    torch.testing.assert_close(block(tokens), expected)


def test_a_token_stands_before_the_points_and_sees_them():
    torch.manual_seed(7)
    encoder, features = PointEncoder(SMALL, 1), torch.randn(2, 3, 8, 16)
    encoded = encoder(features)
    assert encoded.shape == (2, 3, 9, 16)
    assert not torch.equal(encoded[0, 0, 0], encoded[0, 1, 0])
    assert PointEncoder(SMALL, 1, has_token=False)(features).shape == (2, 3, 8, 16)


def test_each_class_has_shifts_of_its_own():
    _, shifts = start_biases(side_directions(8))
    mover = PointMover(8, 4, shifts, SMALL, copies=3)
    moved = mover(torch.randn(2, 5, 8, 16))
    assert moved.shape == (2, 5, 3, 8, 2)
    assert not torch.equal(moved[:, :, 0], moved[:, :, 1])
    torch.testing.assert_close(moved, shifts.expand_as(moved), atol=0.1, rtol=0)


def test_places_stay_exact_under_autocast():
    torch.manual_seed(8)
    pyramid, regions = draw_pyramid(), draw_regions()
    scatterer = PointScatter(SMALL, start_biases(side_directions(8))[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scattered = scatterer(pyramid, regions)
    assert scattered.points.dtype == scattered.features.dtype == torch.float32
    torch.testing.assert_close(scattered.points, scatterer(pyramid, regions).points, atol=1e-3, rtol=0)


class Whole(torch.nn.Module):
    """The pure part: region to output points."""

    def __init__(self):
        super().__init__()
        offsets, shifts = start_biases(side_directions(8))
        self.scatter, self.encoder = PointScatter(SMALL, offsets), PointEncoder(SMALL, 1, has_token=False)
        self.mover = PointMover(8, 8, shifts, SMALL)

    def forward(self, memory, regions):
        scattered = self.scatter(Pyramid(memory, ((16, 12), (8, 6), (4, 3))), regions)
        return bounds(scattered.moved(self.mover(self.encoder(scattered.features))[:, :, 0]))


def test_it_compiles_as_one_graph():
    torch.manual_seed(9)
    whole, memory, regions = Whole().eval(), draw_pyramid().memory, draw_regions()
    compiled = torch.compile(whole, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(memory, regions), whole(memory, regions))


def test_the_pyramid_of_a_backbone_has_one_level_more():
    torch.manual_seed(10)
    features = [torch.randn(2, channels, 16 >> level, 16 >> level) for level, channels in enumerate((4, 6, 8, 10))]
    pyramid = PyramidTrunk((4, 6, 8, 10), 16)(features)
    assert pyramid.spatial_shapes == ((16, 16), (8, 8), (4, 4), (2, 2), (1, 1))
    assert pyramid.memory.shape == (2, 341, 16)
    scaled = PyramidTrunk((4, 6, 8, 10), 16)([feature * 100 for feature in features]).memory.std()
    assert scaled < 2, "the scale of what student and teacher are compared at is bounded"
    plain = PyramidTrunk((4, 6, 8, 10), 16, norm=False)
    assert plain([feature * 100 for feature in features]).memory.std() > 2
    assert not any("bn" in name or "gn" in name for name, _ in plain.named_parameters())
