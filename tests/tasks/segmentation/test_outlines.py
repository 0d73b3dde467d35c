"""Outlines of masks and masks of outlines, by hand, by pycocotools and by slow loops; and the head that gives them."""

import math

import numpy as np
import pytest
import torch

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.points.geometry import rectangle_directions
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.segmentation.head_segmentation_unihead import OutlineOptions, OutlineStage
from foundationx.tasks.segmentation.outlines import (
    filled,
    outline_distance,
    outline_truth,
    painted,
    resampled,
    sorted_by_angle,
)
from foundationx.tasks.segmentation.target import SegmentationBatch, rasterised
from tests.helpers.tiny_network import BACKBONE, UNIHEAD

KEY = TaskKey("masks", Task.SEGMENTATION)


def ellipses(count=1, size=64):
    """Masks (1, 1, size, size) of ellipses beside each other."""
    y, x = np.mgrid[:size, :size] + 0.5
    mask = np.zeros((size, size), dtype=np.uint8)
    for number in range(count):
        centre = size * (number + 0.5) / count
        mask[((x - centre) / (size * 0.35 / count)) ** 2 + ((y - size / 2) / (size * 0.3)) ** 2 < 1] = 1
    return mask[None, None]


def crescent(size=64):
    y, x = np.mgrid[:size, :size] + 0.5
    outer = (x - 32) ** 2 + (y - 32) ** 2 < 26**2
    return (outer & ((x - 46) ** 2 + (y - 32) ** 2 > 24**2)).astype(np.uint8)[None, None]


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_points_stand_at_equal_steps_clockwise():
    square = np.array([[0, 0], [0, 4], [4, 4], [4, 0]], dtype=np.float64)  # counter-clockwise on the screen
    points = resampled(square, 8)
    assert np.allclose(np.abs(points - np.roll(points, 1, axis=0)).sum(axis=1), 2)
    x, y = points.T
    assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2 == pytest.approx(16)
    assert np.allclose(resampled(square[::-1], 8).sum(0), points.sum(0))


def test_filling_an_outline_is_pycocotools_rasterising():
    for mask in (ellipses()[0, 0], crescent()[0, 0]):
        truth = outline_truth(mask[None, None], 36)
        inside = filled(truth.outlines, (64, 64))[0, 0].numpy()
        expected = rasterised(truth.outlines[0, 0].numpy() * 64, (64, 64))
        assert dice(inside, expected) > 0.98
        assert dice(inside, mask == 1) > 0.96


def slow_inside(line, x, y):
    inside = False
    for (x0, y0), (x1, y1) in zip(line, np.roll(line, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x > x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def test_filling_is_the_even_odd_rule_of_a_slow_loop():
    torch.manual_seed(0)
    lines = torch.rand(2, 3, 8, 2, dtype=torch.float64) * 1.4 - 0.2  # they cross themselves and leave the image
    found = filled(lines, (9, 13))
    for image in range(2):
        for number in range(3):
            for row in range(9):
                for column in range(13):
                    place = (column + 0.5) / 13, (row + 0.5) / 9
                    assert bool(found[image, number, row, column]) == slow_inside(lines[image, number].numpy(), *place)


def test_parts_are_kept_one_by_one_and_holes_are_filled():
    truth = outline_truth(ellipses(3), 36)
    assert (truth.classes >= 0).sum() == 3
    assert dice(filled(truth.outlines, (64, 64)).any(1)[0].numpy(), ellipses(3)[0, 0] == 1) > 0.95
    ring = ellipses()
    ring[0, 0, 28:36, 28:36] = 0
    truth = outline_truth(ring, 36)
    assert (truth.classes >= 0).sum() == 1
    assert dice(filled(truth.outlines, (64, 64))[0, 0].numpy(), ellipses()[0, 0] == 1) > 0.96


def test_native_order_keeps_a_crescent_that_sorting_by_angle_destroys():
    own, released = (outline_truth(crescent(), 36, by_angle=by_angle).outlines for by_angle in (False, True))
    true = crescent()[0, 0] == 1
    assert dice(filled(own, (64, 64))[0, 0].numpy(), true) > 0.95
    assert dice(filled(released, (64, 64))[0, 0].numpy(), true) < 0.9
    line = sorted_by_angle(np.array([[1.0, 0], [0, 1], [-1, 0.001], [0, -1], [-1, -0.001]]))
    assert line.tolist() == [[-1, -0.001], [0, -1], [1, 0], [0, 1], [-1, 0.001]]


def test_small_and_unknown_parts_are_regions_in_which_the_class_is_unknown():
    masks = np.zeros((2, 2, 64, 64), dtype=np.uint8)
    masks[0, 1, 10:20, 4:8] = 1
    masks[0, 1, 40:42, 40:42] = 1  # four pixels
    masks[0, 0, 30:34, 50:60] = 255
    masks[1, 0] = 255
    truth = outline_truth(masks, 8)
    assert truth.known.tolist() == [[True, True], [False, True]]
    assert truth.classes.tolist() == [[1], [-1]]
    assert (truth.boxes[0, 0] * 64).tolist() == [4, 10, 8, 20]
    assert truth.ignored_classes.tolist() == [[1, 0], [-1, -1]]
    assert (truth.ignored_boxes[0, 1] * 64).tolist() == [50, 30, 60, 34]


def test_the_distance_is_that_of_the_best_start():
    torch.manual_seed(1)
    truth, outlines, unit = torch.rand(2, 3, 8, 2), torch.rand(2, 3, 8, 2), torch.rand(2, 3, 2) + 0.5
    found = outline_distance(outlines, truth, unit)
    in_order = outline_distance(outlines, truth, unit, in_order=True)
    for image in range(2):
        for number in range(3):
            pairs = [
                ((outlines[image, number] - truth[image, number].roll(-start, 0)).abs() / unit[image, number]).mean()
                for start in range(8)
            ]
            torch.testing.assert_close(found[image, number], min(pairs))
            torch.testing.assert_close(in_order[image, number], pairs[0])
    assert (in_order > found).any()
    turned = truth.roll(3, dims=2)
    assert outline_distance(turned, truth, unit).max() == 0
    assert outline_distance(turned, truth, unit, in_order=True).min() > 0


def test_a_pixel_has_the_largest_probability_of_its_class():
    square = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]])
    outlines = torch.stack([square, square + 0.25, square])[None]
    masks = painted(outlines, torch.tensor([[0.6, 0.9, 0.7]]), torch.tensor([[0, 0, 1]]), 3, (4, 4))
    torch.testing.assert_close(masks[0, 0, 0], torch.tensor([0.6, 0.6, 0, 0]))
    torch.testing.assert_close(masks[0, 0, 1], torch.tensor([0.6, 0.9, 0.9, 0]))
    assert masks[0, 1, 0, 0] == torch.tensor(0.7) and (masks[0, 2] == 0).all()


def test_the_outline_stage_has_the_published_number_of_parameters_and_begins_at_the_region():
    stage = OutlineStage(OutlineOptions())
    assert sum(parameter.numel() for parameter in stage.parameters()) == 13_927_056
    small = OutlineStage(OutlineOptions(channels=16, attention_heads=2))
    torch.nn.init.zeros_(small.mover.shifts.weight)  # the biases alone; the weights add noise to them
    torch.nn.init.zeros_(small.scatter.offsets.weight)
    pyramid = Pyramid.of([torch.randn(1, 16, 16 >> level, 16 >> level) for level in range(4)])
    region = torch.tensor([[[0.2, 0.3, 0.6, 0.9]]])
    start = torch.tensor([0.4, 0.6]) + rectangle_directions(36) * torch.tensor([0.2, 0.3])
    torch.testing.assert_close(small(pyramid, region)[0, 0], start)


def model(**more):
    torch.manual_seed(0)
    heads = {"segmentation": UNIHEAD["segmentation"] | {"options": UNIHEAD["segmentation"]["options"] | more}}
    return FoundationModel(ModelConfig.model_validate({"backbone": BACKBONE, "heads": heads}), {KEY: ("x", "y")})


def batch_of(masks):
    images = torch.zeros(len(masks), 1, 64, 64, dtype=torch.uint8)
    return SegmentationBatch(KEY, images, images, torch.ones(masks.shape[:2]), (), masks=torch.from_numpy(masks))


def drawn():
    masks = np.zeros((4, 2, 64, 64), dtype=np.uint8)
    masks[:, 0], masks[:2, 1] = ellipses()[0, 0], crescent()[0, 0]
    return masks


@pytest.mark.parametrize("more", [{}, {"as_released": True, "class_boxes": True}], ids=["ours", "released"])
def test_every_parameter_learns_and_masks_without_parts_keep_the_graph(more):
    network, images = model(**more).train(), torch.randn(4, 3, 64, 64)
    losses = network.losses(images, batch_of(drawn()))[1]
    assert set(losses) == {"proposals", "class", "giou", "iou", "outline"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    for value in (0, 255):
        network.zero_grad()
        losses = network.losses(images, batch_of(np.full((4, 2, 64, 64), value, dtype=np.uint8)))[1]
        sum(losses.values()).backward()
        assert all(math.isfinite(float(loss.detach())) for loss in losses.values()) and losses["outline"] == 0
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert any(parameter.grad.abs().sum() > 0 for parameter in network.parameters()) == (value == 0)


def test_predictions_are_masks_of_the_input():
    network = model().eval()
    with torch.no_grad():
        masks = network.predict(torch.randn(2, 3, 64, 64), KEY).masks
    assert masks.shape == (2, 2, 64, 64) and 0 < masks.max() <= 1 and masks.min() == 0


@pytest.mark.slow
def test_it_learns_the_outline_of_an_ellipse():
    network = model().train()
    masks = np.zeros((4, 2, 64, 64), dtype=np.uint8)
    for image in range(4):
        masks[image, image % 2] = np.roll(ellipses(2)[0, 0], (image * 3 - 4, image * 4 - 8), (0, 1))
    images = torch.from_numpy(masks.astype(np.float32)) @ torch.eye(64)
    images = torch.stack([images[:, 0], -images[:, 1], images.sum(1)], dim=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(70):
        optimizer.zero_grad()
        sum(network.losses(images, batch_of(masks))[1].values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = network.eval().predict(images, KEY).masks.numpy() > 0.5
    assert dice(found, masks == 1) > 0.6
