"""Losses and heads for long tails: published formulas, slow loops, unknown labels, and heads that default runs keep."""

import math

import numpy as np
import pytest
import torch

from foundationx.core.config.model import ModelConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch, SampleMeta, Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.classification.label_loss import LABEL_LOSSES, open_label_loss
from foundationx.tasks.classification.losses import masked_bce
from tests.helpers.tiny_network import BACKBONE

KEY = TaskKey("d", Task.CLASSIFICATION)


def drawn(seed=0, number=30, classes=3):
    torch.manual_seed(seed)
    labels = (torch.rand(number, classes) < 0.3).float()
    labels[torch.rand(number, classes) < 0.25] = float("nan")
    return torch.randn(number, classes, dtype=torch.float64) * 2, labels


def slow_mean(logits, labels, entry):
    """The mean over known labels of ``entry(probability, label, class)``, one after the other."""
    values = [
        entry(1 / (1 + math.exp(-logits[i, k].item())), labels[i, k].item(), k)
        for i in range(len(labels))
        for k in range(labels.shape[1])
        if not math.isnan(labels[i, k].item())
    ]
    return sum(values) / len(values)


def test_the_asymmetric_loss_is_the_published_formula():
    """Ridnik et al. 2021, equations 4 to 6: L+ = (1-p)^g+ log p, L- = p_m^g- log(1 - p_m), p_m = max(p - m, 0)."""
    logits, labels = drawn()
    loss = open_label_loss({"type": "asymmetric", "present": 1, "absent": 4, "margin": 0.05}, 3)

    def entry(p, y, k):
        shifted = max(p - 0.05, 0)
        return -((1 - p) ** 1) * math.log(p) if y == 1 else -(shifted**4) * math.log(1 - shifted)

    assert loss(logits, labels).item() == pytest.approx(slow_mean(logits, labels, entry), rel=1e-5)
    plain = open_label_loss({"type": "asymmetric", "present": 0, "absent": 0, "margin": 0}, 3)
    assert plain(logits, labels).item() == pytest.approx(masked_bce(logits, labels).item(), rel=1e-5)


def test_the_class_balanced_loss_weighs_by_effective_numbers():
    """Cui et al. 2019: weights in proportion to (1 - beta) / (1 - beta^n)."""
    training = np.array([[1, 0, 0]] * 4 + [[0, 0, np.nan]] * 36, dtype=np.float32)
    training[0, 2] = 1
    beta = 0.9
    loss = open_label_loss({"type": "class_balanced", "beta": beta}, 3)
    loss.see_labels(training)
    raw = [(1 - beta) / (1 - beta**n) for n in (36, 4)]
    scale = 40 / (raw[0] * 36 + raw[1] * 4)
    assert loss.weights[:, 0].tolist() == pytest.approx([raw[0] * scale, raw[1] * scale])
    assert loss.weights[:, 1].tolist() == [1, 1]  # never present
    raw = [(1 - beta) / (1 - beta**n) for n in (3, 1)]
    scale = 4 / (raw[0] * 3 + raw[1])
    assert loss.weights[:, 2].tolist() == pytest.approx([raw[0] * scale, raw[1] * scale])
    logits, labels = drawn(1)
    weights = loss.weights.tolist()

    def entry(p, y, k):
        return -weights[int(y)][k] * math.log(p if y == 1 else 1 - p)

    assert loss(logits, labels).item() == pytest.approx(slow_mean(logits, labels, entry), rel=1e-5)
    even = open_label_loss({"type": "class_balanced", "beta": 0.0}, 3)
    even.see_labels(training)
    assert even(logits, labels).item() == pytest.approx(masked_bce(logits, labels).item())


@pytest.mark.parametrize("name", LABEL_LOSSES.names())
def test_unknown_labels_give_exactly_no_gradient(name):
    logits, labels = drawn(2)
    logits.requires_grad_()
    loss = open_label_loss({"type": name}, 3)
    loss(logits, labels).backward()
    assert (logits.grad[labels.isnan()] == 0).all() and (logits.grad[labels == 1] != 0).all()
    nothing = torch.full((2, 3), float("nan"))
    assert loss(logits[:2].detach(), nothing).item() == 0


def test_losses_that_do_not_exist_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"options\.loss\.type"):
        open_label_loss({"type": "asymetric"}, 3)
    with pytest.raises(ConfigError, match="has no `type`"):
        open_label_loss({}, 3)
    with pytest.raises(ConfigError, match="margin"):
        open_label_loss({"type": "asymmetric", "margin": 2}, 3)


def model(kind=None, options=None, **more):
    heads = {} if kind is None else {"heads": {"classification": {"type": kind, "options": options or {}}}}
    torch.manual_seed(0)
    return FoundationModel(ModelConfig(backbone=BACKBONE, **heads, **more), {KEY: ("a", "b", "c")})


def batch(number=4):
    torch.manual_seed(1)
    images = torch.zeros(number, 1, 64, 64, dtype=torch.uint8)
    labels = (torch.rand(number, 3) < 0.5).float()
    return Batch(KEY, images, images, labels, tuple(SampleMeta(KEY, "i", "p", "r", 64, 64) for _ in range(number)))


def test_the_default_head_is_the_same_to_the_bit_with_and_without_naming_its_loss():
    plain, named = model(), model("classification", {"loss": None})
    assert list(plain.state_dict()) == list(named.state_dict())
    images = torch.randn(4, 3, 64, 64)
    for network in (plain, named):
        network.eval()
    one, two = (network.losses(images, batch())[1] for network in (plain, named))
    assert list(one) == ["bce"] and torch.equal(one["bce"], two["bce"])


def test_a_head_uses_the_loss_that_its_options_name():
    network = model("classification", {"loss": {"type": "class_balanced", "beta": 0.9}})
    head = network.head(KEY)
    labels = np.array([[1, 0, 1]] + [[0, 1, 0]] * 9, dtype=np.float32)
    head.see_labels(labels, np.ones(10), np.full(10, "d"))
    images = torch.randn(4, 3, 64, 64)
    assert list(network.losses(images, batch())[1]) == ["class_balanced"]
    again = model("classification", {"loss": {"type": "class_balanced", "beta": 0.9}})
    again.load_state_dict(network.state_dict())
    assert (
        torch.equal(again.head(KEY).label_loss.weights, head.label_loss.weights) and head.label_loss.weights[1, 0] > 1
    )


@pytest.mark.parametrize("projector", [None, {"features": 12}])
def test_glori_is_per_class_attention_over_positions_beside_the_pooled_feature(projector):
    """Reference: softmax attention written out, class by class and attention head by attention head."""
    network = model("glori", {"width": 8, "attention_heads": 2}, projector=projector).eval()
    images = torch.randn(2, 3, 64, 64)
    head, trunk = network.head(KEY), network.trunks["classification"]
    feature = network.trunk(images, KEY)
    logits = head(feature, trunk)
    local = head.to_width(head.norm(feature.local))
    query_weight, key_weight, value_weight = head.attention.in_proj_weight.chunk(3)
    biases = head.attention.in_proj_bias.chunk(3)
    for index in range(2):
        for k in range(3):
            query = query_weight @ head.queries[k] + biases[0]
            keys, values = local[index] @ key_weight.T + biases[1], local[index] @ value_weight.T + biases[2]
            parts = []
            for part in (slice(0, 4), slice(4, 8)):
                share = torch.softmax(keys[:, part] @ query[part] / math.sqrt(4), dim=0)
                parts.append(share @ values[:, part])
            found = head.attention.out_proj(torch.cat(parts))
            both = torch.cat([feature.memory[index], found])
            expected = head.classifier.weight[k] @ both + head.classifier.bias[k]
            assert logits[index, k].item() == pytest.approx(expected.item(), abs=1e-5)
    assert feature.memory.shape[1] == trunk.out_features and feature.local.shape[1] == 4


def test_glori_trains_and_its_consistency_point_is_the_pooled_feature():
    from foundationx.models.consistency import consistency_point

    network = model("glori", {"loss": {"type": "asymmetric"}, "width": 8, "attention_heads": 2})
    feature, parts = network.losses(torch.randn(4, 3, 64, 64), batch())
    parts["asymmetric"].backward()
    assert network.head(KEY).queries.grad.abs().sum() > 0
    assert torch.equal(consistency_point(feature), feature.memory)
    with pytest.raises(ConfigError, match="divide the width"):
        model("glori", {"width": 9, "attention_heads": 2})
