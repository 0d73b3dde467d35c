"""The head of points: places against a slow expectation, losses by hand, and no gradient from what is unknown."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import Task
from foundationx.tasks.base import open_head
from foundationx.tasks.fill import Limits
from foundationx.tasks.keypoints import fill, trivial
from foundationx.tasks.keypoints.head import KeypointsHead, KeypointsOptions, KeypointsOutput
from foundationx.tasks.keypoints.prediction import KeypointsPrediction
from foundationx.tasks.keypoints.trunk import KeypointsTrunk
from foundationx.tasks.points.pyramid import PyramidTrunk
from foundationx.weights.exports._whole import fields_of, in_pixels
from tests.tasks.keypoints.test_points import batch

TINY_CONFIG = Path(__file__).resolve().parents[2] / "helpers" / "tiny_config.py"
NAN = math.nan
TASK = Task("keypoints")


def head(points=2, channels=8, **options):
    torch.manual_seed(0)
    return KeypointsHead(channels, points, KeypointsOptions(**options))


def test_a_place_is_the_mean_of_the_cells_weighted_by_the_heat():
    net, feature = head(), torch.randn(1, 8, 3, 4)
    with torch.no_grad():
        net.visible_bias.fill_(0.3)
        found, heat = net(feature, None), net.heat(feature)
    for k in range(2):
        weights = {(r, c): math.exp(heat[0, k, r, c]) for r in range(3) for c in range(4)}
        total = sum(weights.values())
        x = sum(weight * (c + 0.5) / 4 for (r, c), weight in weights.items()) / total
        y = sum(weight * (r + 0.5) / 3 for (r, c), weight in weights.items()) / total
        assert found.points[0, k].tolist() == pytest.approx([x, y], abs=1e-5)
        there = sum(weight * feature[0, :, r, c] for (r, c), weight in weights.items()) / total
        logit = float(there @ net.visible_weight[k].detach()) + 0.3
        assert float(found.visibility[0, k]) == pytest.approx(logit, abs=1e-5)


def test_a_sharp_heat_map_gives_its_cell_even_in_bfloat16():
    """A place in a map of 64 cells is finer than bfloat16 could tell."""
    net, feature = head(1), torch.zeros(1, 8, 64, 64)
    feature[0, :, 40, 50] = 40.0
    with torch.no_grad():
        net.heat.weight.fill_(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(feature, None)
    assert found.points.dtype == torch.float32
    assert found.points[0, 0].tolist() == pytest.approx([50.5 / 64, 40.5 / 64], abs=1e-5)


def test_losses_by_hand():
    made = batch([[[0.5, 0.5], [NAN, NAN]], [[0.1, 0.2], [NAN, NAN]]], [[1.0, 0.0], [1.0, NAN]])
    outputs = KeypointsOutput(torch.tensor([[[0.6, 0.3], [0.9, 0.9]], [[0.1, 0.6], [0.0, 0.0]]]), torch.zeros(2, 2))
    losses = head(distance_weight=10.0).loss(outputs, made)
    assert float(losses["distance"]) == pytest.approx(10 * (0.1 + 0.2 + 0.0 + 0.4) / 2)
    assert float(losses["visibility"]) == pytest.approx(math.log(2)), "mean over the three that are known"
    assert head().counts(made) == {"points": 2, "visibility": 3}


def test_what_is_unknown_gives_exactly_no_gradient():
    points, visibility = torch.rand(1, 3, 2, requires_grad=True), torch.randn(1, 3, requires_grad=True)
    made = batch([[[0.5, 0.5], [NAN, NAN], [NAN, NAN]]], [[1.0, NAN, 1.0]])
    sum(head(3).loss(KeypointsOutput(points, visibility), made).values()).backward()
    assert (points.grad[0, 1:] == 0).all() and (points.grad[0, 0] != 0).all()
    assert visibility.grad[0, 1] == 0 and (visibility.grad[0, [0, 2]] != 0).all(), "visible somewhere is visible"


def test_a_batch_without_anything_known_has_no_loss_and_no_gradient():
    net, feature = head(), torch.randn(2, 8, 4, 4)
    made = batch([[[NAN, NAN]] * 2] * 2, [[NAN, NAN]] * 2)
    total = sum(net.loss(net(feature, None), made).values())
    total.backward()
    assert float(total.detach()) == 0 and all((p.grad == 0).all() for p in net.parameters())


def test_the_trunk_gives_the_finest_map_and_uses_every_stage():
    trunk = KeypointsTrunk((4, 8, 16), 12)
    maps = [torch.randn(2, width, side, side, requires_grad=True) for width, side in ((4, 16), (8, 8), (16, 4))]
    out = trunk(maps)
    out.sum().backward()
    assert out.shape == (2, 12, 16, 16) and trunk.stages == 3
    assert all((stage.grad != 0).any() for stage in maps)
    assert all(parameter.grad is not None for parameter in trunk.parameters())


@pytest.mark.parametrize("build", [lambda: KeypointsTrunk((4, 8), 8), lambda: PyramidTrunk((4, 8), 8, extra=0)])
def test_both_trunks_compile_as_one_graph(build):
    torch.manual_seed(0)
    trunk, maps = build(), [torch.randn(2, 4, 16, 16), torch.randn(2, 8, 8, 8)]
    run = torch.compile(lambda features: _tensor(trunk(features)), backend="eager", fullgraph=True)
    torch.testing.assert_close(run(maps), _tensor(trunk(maps)))


def _tensor(out):
    return out if isinstance(out, torch.Tensor) else out.memory


def test_options_are_those_of_the_configuration():
    config = load_config(
        TINY_CONFIG, {"model.heads": {"keypoints": {"type": "keypoints", "options": {"channels": 16}}}}
    )
    assert open_head(TASK, config.model)[0] is KeypointsHead
    assert KeypointsHead.build_trunk([8, 16], config.model).out_channels == 16
    wrong = load_config(TINY_CONFIG, {"model.heads": {"keypoints": {"type": "keypoints", "options": {"channel": 16}}}})
    with pytest.raises(ConfigError, match=r"model\.heads\.keypoints\.options\.channel"):
        open_head(TASK, wrong.model)


def test_trivial_places_are_means_over_the_images_that_show_them():
    made = [batch([[[0.2, 0.4], [NAN, NAN]]], [[1.0, 0.0]]), batch([[[0.4, 0.8], [NAN, NAN]]], [[1.0, NAN]])]
    learned = trivial.learn(made, ("a", "b"))
    assert list(learned) == ["a"] and learned["a"]["score"] == 1.0
    assert learned["a"]["point"] == pytest.approx([0.3, 0.6], abs=1e-6)
    answer = trivial.answer(learned, ("b", "a"), np.array([[200, 100]]))
    assert answer["predicted_points"].tolist() == [[[50.0, 100.0], [pytest.approx(30.0), pytest.approx(120.0)]]]
    assert answer["probabilities"].tolist() == [[0.0, 1.0]]


def prediction(places, visible):
    return KeypointsPrediction(torch.tensor(places), torch.tensor(visible))


def test_evidence_counts_a_visible_point_as_right_if_it_is_near():
    made = batch([[[0.5, 0.5], [0.5, 0.5], [NAN, NAN], [NAN, NAN]]], [[1.0, 1.0, 0.0, NAN]])
    said = prediction([[[0.53, 0.5], [0.6, 0.5], [0.1, 0.1], [0.1, 0.1]]], [[0.9, 0.8, 0.7, 0.6]])
    evidence = fill.evidence(said, made)
    assert evidence.classes.tolist() == [0, 1, 2] and evidence.truth.tolist() == [True, False, False]
    assert evidence.scores == pytest.approx([0.9, 0.8, 0.7])


def test_a_filled_point_has_the_teachers_place_and_what_is_between_the_limits_stays_unknown():
    made = batch([[[NAN, NAN]] * 4], [[NAN] * 4])
    said = prediction([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]], [[0.9, 0.5, 0.1, 0.9]])
    limits = Limits(np.full(4, 0.8), np.full(4, 0.2))
    filled, count = fill.filled(said, made, made.key, limits, torch.tensor([[True, True, True, False]]))
    assert count.tolist() == [[True, False, False, False]]
    assert np.array_equal(filled.visible.numpy(), np.array([[1, NAN, 0, NAN]], np.float32), equal_nan=True)
    assert filled.points[0, 0].tolist() == pytest.approx([0.1, 0.2]) and filled.points[0, 1:].isnan().all()


def test_an_exported_model_gives_points_in_pixels_of_the_image():
    said = prediction([[[0.25, 0.5], [1.5, -0.5]]], [[0.9, 0.1]])
    assert [name for name, _ in fields_of(said)] == ["points", "visibilities"]
    image, size = torch.zeros(100, 200, dtype=torch.uint8), torch.tensor([200.0, 100.0])
    assert in_pixels("relative_points", said.relative_points[0], image, size).tolist() == [[50, 50], [200, 0]]
    assert in_pixels("visibilities", said.visibilities[0], image, size) is not None
    boxes = torch.tensor([[0.1, 0.2, 0.5, 1.0]])
    assert in_pixels("relative_boxes", boxes, image, size).tolist() == [pytest.approx([20, 20, 100, 100])]
