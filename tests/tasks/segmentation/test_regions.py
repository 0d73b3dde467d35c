"""Region-guided gating against a slow walk over boxes and pixels written from docs/methods/foundation_x_plus.md,
"1.2 Region-guided segmentation"."""

import math

import pytest
import torch

from foundationx.core.config.model import ModelConfig, RegionGateConfig
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.segmentation.region_gate import gate_features, grow, region_mask
from tests.models.test_parameter_groups import BACKBONE, DETECTION

GATE = RegionGateConfig()


def slow_mask(boxes, kept, grid, spread):
    """One image: boxes (x1, y1, x2, y2) as shares, cell by cell."""
    height, width = grid
    mask = [[0.0] * width for _ in range(height)]
    for (x1, y1, x2, y2), counts in zip(boxes, kept, strict=True):
        if not counts:
            continue
        x1, x2, y1, y2 = x1 * width, x2 * width, y1 * height, y2 * height
        sigma = min(spread * max(x2 - x1, y2 - y1), width, height)
        for row in range(height):
            for column in range(width):
                dx = max(x1 - (column + 0.5), column + 0.5 - x2, 0)
                dy = max(y1 - (row + 0.5), row + 0.5 - y2, 0)
                mask[row][column] = max(mask[row][column], math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)))
    peak = max(map(max, mask))
    return torch.tensor([[value / peak for value in row] for row in mask]) if peak else torch.ones(grid)


def random_boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(2, count, 2, generator=generator)
    side = 0.05 + 0.3 * torch.rand(2, count, 2, generator=generator)
    return torch.cat([centre - side / 2, centre + side / 2], dim=-1).clamp(0, 1)


@pytest.mark.parametrize("grid", [(7, 7), (14, 10), (28, 28)])
def test_the_mask_equals_a_loop_over_boxes_and_cells(grid):
    boxes = random_boxes(6, seed=1)
    kept = torch.tensor([[True, False, True, True, False, True], [False] * 6])
    result = region_mask(boxes, kept, grid, 1.5)
    for image in range(2):
        expected = slow_mask(boxes[image].tolist(), kept[image].tolist(), grid, 1.5)
        torch.testing.assert_close(result[image, 0], expected, atol=1e-5, rtol=0)
    assert (result[1] == 1).all(), "an image without region is left as it is"


def test_a_box_grows_in_area_about_its_centre():
    box = torch.tensor([[[0.25, 0.25, 0.5, 0.75]]])
    grown = grow(box, (200, 100), 1.5)[0, 0]
    assert (grown[2] - grown[0]) * (grown[3] - grown[1]) == pytest.approx(1.5 * 0.25 * 0.5, rel=1e-5)
    assert (grown[0] + grown[2]) / 2 == pytest.approx(0.375) and (grown[1] + grown[3]) / 2 == pytest.approx(0.5)
    assert (grown[3] - grown[1]) / (grown[2] - grown[0]) == pytest.approx(2.0)


def test_a_tiny_box_gets_ten_pixels_and_the_rim_cuts():
    tiny = torch.tensor([[[0.5, 0.5, 0.51, 0.51]]])  # 1 x 1 pixel
    grown = grow(tiny, (100, 100), 1.0)[0, 0]
    assert (grown[2] - grown[0]) * 100 == pytest.approx(10, rel=1e-4)
    at_rim = grow(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), (64, 64), 1.5)[0, 0]
    assert at_rim.tolist() == [0, 0, 1, 1]


def test_features_inside_stay_and_those_far_away_are_halved():
    feature = torch.ones(1, 3, 32, 32)
    box, score = torch.tensor([[[0.0, 0.0, 0.06, 0.06]]]), torch.tensor([[0.9]])
    (gated,) = gate_features([feature], box, score, (64, 64), GATE)
    assert gated[0, 0, 0, 0] == 1
    assert gated[0, 0, -1, -1] == pytest.approx(0.5, abs=1e-3)
    (ungated,) = gate_features([feature], box, torch.tensor([[0.2]]), (64, 64), GATE)
    assert torch.equal(ungated, feature), "a box below the score is no region"


def test_the_gradient_flows_through_the_features_alone():
    feature = torch.randn(1, 2, 8, 8, requires_grad=True)
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.4]]], requires_grad=True)
    (gated,) = gate_features([feature], boxes, torch.tensor([[0.9]]), (64, 64), GATE)
    gated.sum().backward()
    assert feature.grad.abs().min() > 0 and boxes.grad is None


HEADS = {TaskKey("a", Task.DETECTION): ("x",), TaskKey("a", Task.SEGMENTATION): ("x",)}
OTHER = TaskKey("b", Task.SEGMENTATION)


def make_model(**gate):
    config = ModelConfig.model_validate(
        {
            "backbone": BACKBONE,
            "detection": DETECTION | {"sharing": "queries"},
            "segmentation": {"channels": 8},
            "region_gate": {"score": 0.0, **gate},  # an untrained head scores about 0.01: take what it has
        }
    )
    torch.manual_seed(0)
    return FoundationModel(config, HEADS | {OTHER: ("x",)}).eval()


def test_training_and_test_see_the_same_gate_by_default():
    images, key = torch.randn(2, 3, 64, 64), TaskKey("a", Task.SEGMENTATION)
    alike, released = make_model(), make_model(at_test=False)
    with torch.no_grad():
        trained = alike.head(key).predict(alike.head(key)(alike.trunk(images, key), None), (64, 64)).masks
        assert torch.equal(alike.predict(images, key).masks, trained)
        assert not torch.equal(released.predict(images, key).masks, trained)
        plain = released.trunk(images, key, gate=False)
        assert torch.equal(released.predict(images, key).masks, released.head(key).predict(
            released.head(key)(plain, None), (64, 64)).masks)  # fmt: skip


def test_a_dataset_without_detection_head_is_not_gated():
    images, model = torch.randn(1, 3, 64, 64), make_model()
    with torch.no_grad():
        assert torch.equal(model.trunk(images, OTHER), model.trunk(images, OTHER, gate=False))
