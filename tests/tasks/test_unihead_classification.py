"""UniHead for image labels: its points, what it concatenates, and labels that are unknown."""

import pytest
import torch

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch, Task, TaskKey
from foundationx.models.consistency import consistency_point
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.base import HEADS, open_head
from tests.helpers.tiny_network import BACKBONE

KEY = TaskKey("d", Task.CLASSIFICATION)
SIZES = {"channels": 16, "attention_heads": 2, "class_hidden": 12}


def model(**options):
    torch.manual_seed(0)
    heads = {"classification": {"type": "unihead", "options": SIZES | options}}
    return FoundationModel(ModelConfig(backbone=BACKBONE, heads=heads), {KEY: ("a", "b", "c")})


def batch(number=4):
    images = torch.zeros(number, 1, 64, 64, dtype=torch.uint8)
    labels = torch.tensor([[1.0, 0.0, float("nan")]]).repeat(number, 1)
    return Batch(KEY, images, images, labels, ())


def test_a_head_is_found_by_the_name_without_its_task():
    config = ModelConfig(backbone=BACKBONE, heads={"classification": {"type": "unihead"}})
    full = ModelConfig(backbone=BACKBONE, heads={"classification": {"type": "classification_unihead"}})
    assert open_head(Task.CLASSIFICATION, config)[0] is open_head(Task.CLASSIFICATION, full)[0]
    assert open_head(Task.CLASSIFICATION, config)[0] is HEADS.get("classification_unihead")


@pytest.mark.parametrize("pooled", [True, False])
def test_points_begin_spread_over_the_image_and_all_tokens_are_classified(pooled):
    network = model(pooled=pooled).eval()
    head, images = network.head(KEY), torch.randn(2, 3, 64, 64)
    asked = []
    head.scatter.register_forward_hook(lambda module, given, scattered: asked.append((given[1], scattered)))
    hidden = []
    head.hidden.register_forward_hook(lambda module, given, out: hidden.append((given[0], out)))
    feature = network.trunk(images, KEY)
    logits = head(feature, network.trunks["classification"])
    (region, scattered), (tokens, out) = asked[0], hidden[0]
    assert region.tolist() == [[[0, 0, 1, 1]]] * 2
    start = torch.tensor([[0.2, 0.5], [0.5, 0.2], [0.8, 0.5], [0.5, 0.8]]).repeat_interleave(4, 0)
    torch.testing.assert_close(scattered.points, start.expand(2, 1, -1, -1), atol=0.01, rtol=0)
    assert tokens.shape == (2, 17 * 16)
    given = torch.cat([out.relu(), feature.memory], dim=1) if pooled else out.relu()
    torch.testing.assert_close(logits, given @ head.classifier.weight.T + head.classifier.bias)
    assert torch.equal(consistency_point(feature), feature.memory)


def test_unknown_labels_give_no_gradient_and_all_else_learns():
    network = model().train()
    sum(network.losses(torch.randn(4, 3, 64, 64), batch())[1].values()).backward()
    head = network.head(KEY)
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    assert (head.classifier.weight.grad[2] == 0).all() and head.classifier.weight.grad[0].abs().sum() > 0
