"""Losses on tri-state labels: values by hand, unknown entries by autograd."""

import math

import pytest
import torch

from foundationx.tasks.classification.losses import masked_bce, masked_ce
from foundationx.tasks.segmentation.losses import soft_dice_loss

NAN = float("nan")


def test_bce_is_the_mean_over_known_entries():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]])
    labels = torch.tensor([[1.0, NAN], [0.0, NAN]])
    by_hand = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert masked_bce(logits, labels).item() == pytest.approx(by_hand, abs=1e-6)


def test_unknown_entries_get_exactly_zero_gradient():
    logits = torch.randn(5, 7, requires_grad=True)
    labels = (torch.rand(5, 7) > 0.5).float()
    unknown = torch.rand(5, 7) > 0.5
    masked_bce(logits, labels.masked_fill(unknown, NAN)).backward()
    assert torch.equal(logits.grad[unknown], torch.zeros(int(unknown.sum())))
    assert (logits.grad[~unknown] != 0).all()


def test_nothing_known_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = masked_bce(logits, torch.full((3, 2), NAN))
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros(3, 2))


def test_dice_by_hand():
    # class 0: overlap 0.5 + 0.25, total 0.5 + 0.25 + 1 + 1; class 1: empty and predicted empty
    probabilities = torch.tensor([[[[0.5, 0.0]], [[0.0, 0.0]]], [[[0.25, 0.0]], [[0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]], [[[1.0, 0.0]], [[0.0, 0.0]]]])
    expected = 1 - (2 * 0.75 + 1) / (2.75 + 1)
    assert soft_dice_loss(probabilities, target).item() == pytest.approx((expected + 0) / 2, abs=1e-6)


def test_dice_leaves_unknown_pixels_and_classes_out():
    target = (torch.rand(2, 3, 4, 4) > 0.5).float()
    unknown = torch.rand(2, 3, 4, 4) > 0.6
    unknown[:, 2] = True
    target = target.masked_fill(unknown, NAN)
    probabilities = torch.rand(2, 3, 4, 4, requires_grad=True)
    loss = soft_dice_loss(probabilities, target)
    loss.backward()
    assert torch.equal(probabilities.grad[unknown], torch.zeros(int(unknown.sum())))
    # a class without a known pixel is not in the mean: the same as leaving the channel away
    without = soft_dice_loss(probabilities.detach()[:, :2], target[:, :2])
    assert loss.item() == pytest.approx(without.item(), abs=1e-6)


def test_exclusive_classes_by_hand_and_unknown_images_left_out():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [5.0, 5.0, 5.0], [1.0, 2.0, 3.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 1], [NAN, 0, 1], [0, 0, 0]])
    expected = -(2.0 - math.log(math.e**2 + 1 + math.e**-1)) - (0.0 - math.log(2 + math.e))
    loss = masked_ce(logits, labels)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-6)
    loss.backward()
    assert (logits.grad[2:] == 0).all() and (logits.grad[:2] != 0).all()
    assert masked_ce(logits, torch.full((4, 3), NAN)).item() == 0
