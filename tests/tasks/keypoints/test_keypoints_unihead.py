"""UniHead for named points: start, outputs against a slow loop, losses by hand, unknown and invisible points."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foundationx.apps.run.train import build_model
from foundationx.core.config.load import load_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.evaluation.trivial import learn_trivial
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.keypoints.head_keypoints_unihead import (
    PoseOutputs,
    UniHeadKeypointsHead,
    UniHeadKeypointsOptions,
)
from foundationx.tasks.points.pyramid import Pyramid
from tests.helpers.tiny_network import BACKBONE, UNIHEAD
from tests.tasks.keypoints.test_points import batch
from tests.tasks.points.test_points import slow_sample

CONFIG = Path(__file__).resolve().parents[2] / "helpers" / "tiny_unihead.py"
NAN = math.nan
KEY = TaskKey("made", Task("keypoints"))
SIZES = {"channels": 16, "attention_heads": 2, "place_hidden": 16, "dropout": 0.0}
POSE = [[0.2, 0.3], [0.9, 0.1], [0.5, 0.7]]


def head(points=3, **more):
    torch.manual_seed(0)
    net = UniHeadKeypointsHead(points, UniHeadKeypointsOptions.model_validate(SIZES | more))
    net.see_trivial([{"point": place, "score": 1.0} for place in POSE[:points]])
    return net


def pyramid(images=2, side=64):
    torch.manual_seed(1)
    return Pyramid.of([torch.randn(images, 16, side >> level, side >> level) for level in range(3)])


def still(net):
    """The head without the noise of its weights: its biases alone."""
    torch.nn.init.zeros_(net.mover.shifts.weight)
    torch.nn.init.zeros_(net.scatter.offsets.weight)
    return net


@pytest.mark.parametrize("as_released", [False, True])
def test_the_first_points_are_the_mean_pose_and_are_sampled_half_way(as_released):
    net, maps = head(as_released=as_released), pyramid()
    noisy = net(maps, None).points
    torch.testing.assert_close(noisy, torch.tensor(POSE).expand(2, -1, -1), atol=0.02, rtol=0)
    pixel = 1 / 256 if as_released else 0.0  # a released region is a pixel larger
    expected = 0.5 + (torch.tensor(POSE) - 0.5) * (1 + pixel)
    torch.testing.assert_close(still(net)(maps, None).points, expected.expand(2, -1, -1))
    scattered = net.scatter(maps, maps.whole()).points[:, 0]
    torch.testing.assert_close(scattered, (0.5 + expected.expand(2, -1, -1)) / 2)


def test_a_point_that_no_training_image_shows_begins_in_the_middle():
    net = still(head())
    net.see_trivial([{"point": POSE[0], "score": 1.0}, None, {"point": POSE[2], "score": 0.5}])
    found = net(pyramid(1), None).points[0]
    torch.testing.assert_close(found, torch.tensor([POSE[0], [0.5, 0.5], POSE[2]]))


@pytest.mark.parametrize("as_released", [False, True])
def test_outputs_are_those_of_a_slow_loop(as_released):
    """Point by point: offset, bilinear feature of the level of a region of that size, encoder, shift."""
    net, maps = head(as_released=as_released).eval(), pyramid(side=64)
    assert maps.level_of(maps.whole()).tolist() == [[2], [2]]  # 256 pixels: log2(256 / 56) is above 2
    with torch.no_grad():
        found = net(maps, None)
        side = 1 + 1 / 256 if as_released else 1.0
        for image in range(2):
            level = maps.maps()[2][image]
            pooled = torch.zeros(49, 16)
            for cell in range(49):
                for part in range(4):
                    x = (cell % 7 + (part % 2 + 0.5) / 2) / 7
                    y = (cell // 7 + (part // 2 + 0.5) / 2) / 7
                    pooled[cell] += slow_sample(level, x, y, as_released=False) / 4
            offsets = net.scatter.offsets(net.scatter.hidden(pooled.flatten()).relu()).view(3, 2)
            points = [0.5 + 0.1 * offset * side for offset in offsets]
            features = torch.stack([slow_sample(level, x, y, as_released) for x, y in points])
            tokens = net.encoder.blocks(torch.cat([net.encoder.token[0], features])[None])[0]
            hidden = F.relu(net.mover.hidden(tokens[1:].flatten()))
            shifts = net.mover.shifts(hidden).view(3, 2)
            expected = torch.stack([point + 0.5 * shift * side for point, shift in zip(points, shifts, strict=True)])
            torch.testing.assert_close(found.points[image], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found.visibility[image], net.visible(tokens[0]), atol=1e-5, rtol=1e-4)
        assert found.unit.tolist() == [[[0.5, 0.5]]] * 2, "8 of 16 cells"


def test_it_has_the_published_number_of_parameters():
    net = UniHeadKeypointsHead(17, UniHeadKeypointsOptions())
    offset = 49 * 256 * 256 + 256 + 256 * 34 + 34
    encoder = 256 + 3 * 395_008
    visible, coordinates = 256 * 17 + 17, 4352 * 1024 + 1024 + 1024 * 34 + 34
    assert sum(p.numel() for p in net.parameters()) == offset + encoder + visible + coordinates


def test_losses_by_hand():
    made = batch([[[0.5, 0.5], [NAN, NAN]], [[0.1, 0.2], [NAN, NAN]]], [[1.0, 0.0], [1.0, NAN]])
    points = torch.tensor([[[0.6, 0.3], [0.9, 0.9]], [[0.1, 0.6], [0.0, 0.0]]])
    outputs = PoseOutputs(points, torch.zeros(2, 2), torch.tensor([[[0.5, 0.25]]] * 2))
    losses = head(2).loss(outputs, made)
    assert float(losses["distance"]) == pytest.approx(2 * (0.1 / 0.5 + 0.2 / 0.25 + 0.4 / 0.25) / 2)
    assert float(losses["visibility"]) == pytest.approx(0.6 * math.log(2)), "mean over the three that are known"
    assert head(2).counts(made) == {"points": 2, "visibility": 3}


def test_unknown_and_invisible_points_give_exactly_no_gradient_and_all_else_learns():
    net = head()
    made = batch([[[0.5, 0.5], [NAN, NAN], [NAN, NAN]]] * 2, [[1.0, NAN, 0.0]] * 2)
    sum(net.loss(net(pyramid(), None), made).values()).backward()
    places, visible = net.mover.shifts.weight.grad.view(3, 2, -1), net.visible.weight.grad
    assert (places[1:] == 0).all() and (places[0] != 0).any()
    assert (visible[1] == 0).all() and (visible[0] != 0).any() and (visible[2] != 0).any()
    assert all((parameter.grad != 0).any() for parameter in net.parameters())


def test_a_batch_without_anything_known_keeps_the_graph_and_learns_nothing():
    heads = {"keypoints": UNIHEAD["keypoints"]}
    network = FoundationModel(ModelConfig(backbone=BACKBONE, heads=heads), {KEY: ("a", "b")}).train()
    made = batch([[[NAN, NAN]] * 2] * 2, [[NAN, NAN]] * 2)
    losses = network.losses(torch.randn(2, 3, 64, 64), made)[1]
    sum(losses.values()).backward()
    assert all(float(loss.detach()) == 0 for loss in losses.values())
    assert all(parameter.grad is not None and (parameter.grad == 0).all() for parameter in network.parameters())


def test_permuting_images_permutes_what_comes_out():
    net, maps, order = head().eval(), pyramid(3), [2, 0, 1]
    with torch.no_grad():
        there, again = net(maps, None), net(Pyramid(maps.memory[order], maps.spatial_shapes), None)
    torch.testing.assert_close(again.points, there.points[order])
    torch.testing.assert_close(again.visibility, there.visibility[order])


def test_it_compiles_as_one_graph():
    net, maps = head().eval(), pyramid()
    run = torch.compile(
        lambda memory: net(Pyramid(memory, maps.spatial_shapes), None).points, backend="eager", fullgraph=True
    )
    torch.testing.assert_close(run(maps.memory), net(maps, None).points)


def test_a_run_begins_at_the_mean_place_of_its_training_images(tmp_path):
    write_phantom_datasets(tmp_path, {"phantom_masks": 20}, 64, processes=1)
    data_module = open_datasets(load_config(CONFIG, {"datasets": [{"card": "phantom_points"}]}), tmp_path)
    (key,) = data_module.classes
    learned = learn_trivial(data_module)[str(key)]
    assert json.dumps(learned)  # what trivial.json holds
    expected = np.array([learned[name]["point"] for name in data_module.classes[key]])
    net = still(build_model(data_module.config, data_module, "cpu").head(key))
    assert np.ptp(expected, axis=0).min() > 0.3
    points = net(pyramid(1), None).points[0].detach().numpy()
    assert points == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_it_learns_to_find_spots():
    torch.manual_seed(3)
    heads = {"keypoints": {"type": "unihead", "options": SIZES}}
    network = FoundationModel(ModelConfig(backbone=BACKBONE, heads=heads), {KEY: ("a", "b")}).train()
    places = torch.rand(16, 2, 2) * 0.6 + 0.2
    images = torch.randn(16, 3, 64, 64) * 0.1
    for image, pair in enumerate((places * 64).int().tolist()):
        for sign, (x, y) in zip((3, -3), pair, strict=True):
            images[image, :, y - 4 : y + 4, x - 4 : x + 4] += sign
    made = batch(places.tolist(), torch.ones(16, 2).tolist())
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(300):
        optimizer.zero_grad()
        sum(network.losses(images, made)[1].values()).backward()
        optimizer.step()
    with torch.no_grad():
        off = (network.eval().predict(images, KEY).relative_points - places).norm(dim=2)
    assert off.mean() < 0.05, "a mean pose is off by 0.23"
