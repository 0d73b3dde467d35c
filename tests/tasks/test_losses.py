"""Losses on tri-state labels: values by hand, unknown entries by autograd."""

import math

import pytest
import torch

from foundationx.models.consistency import consistency_loss
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


def test_present_classes_share_the_target_of_exclusive_classes():
    logits = torch.tensor([[0.5, -1.0, 2.0]])
    each = torch.log_softmax(logits[0], dim=0)
    assert masked_ce(logits, torch.tensor([[1.0, 1.0, 0.0]])).item() == pytest.approx(-float(each[0] + each[1]) / 2)
    assert masked_ce(logits, torch.tensor([[0.0, 0.2, 0.6]])).item() == pytest.approx(-float(each[1] + 3 * each[2]) / 4)


def test_soft_labels_that_are_barely_present_give_a_whole_target():
    logits = torch.tensor([[0.5, -1.0]])
    soft = torch.tensor([[1e-3, 0.0]])
    assert masked_ce(logits, soft).item() == pytest.approx(-float(torch.log_softmax(logits[0], 0)[0]), rel=1e-5)


@pytest.mark.parametrize("loss", [masked_bce, masked_ce])
def test_labels_of_another_precision_are_taken(loss):
    logits = torch.zeros(2, 3, dtype=torch.float64)
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    value = loss(logits, labels)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(math.log(2) if loss is masked_bce else math.log(3))


def test_dice_of_known_pixels_equals_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(2, 3, 3, 5, generator=generator)
    target = (torch.rand(2, 3, 3, 5, generator=generator) > 0.5).float()
    target = target.masked_fill(torch.rand(2, 3, 3, 5, generator=generator) > 0.7, NAN)
    target[0, 1], target[:, 2] = NAN, NAN
    losses = []
    for index in range(2):
        overlap = total = 0.0
        for image in range(2):
            for row in range(3):
                for column in range(5):
                    p, t = float(probabilities[image, index, row, column]), float(target[image, index, row, column])
                    if not math.isnan(t):
                        overlap, total = overlap + p * t, total + p + t
        losses.append(1 - (2 * overlap + 0.5) / (total + 0.5))
    assert soft_dice_loss(probabilities, target, smooth=0.5).item() == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_dice_of_a_single_class_is_not_halved():
    probabilities, target = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[1.0, 0.0]]]])
    assert soft_dice_loss(probabilities, target).item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 1 + 1))


def test_dice_of_nothing_known_is_zero():
    probabilities = torch.rand(1, 2, 2, 2, requires_grad=True)
    loss = soft_dice_loss(probabilities, torch.full((1, 2, 2, 2), NAN))
    loss.backward()
    assert loss.item() == 0 and torch.equal(probabilities.grad, torch.zeros(1, 2, 2, 2))


def test_consistency_compares_vectors_and_tokens_as_they_are_and_pixels_by_direction():
    vectors, others = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    assert consistency_loss(vectors, others).item() == pytest.approx((2**2 + 4**2) / 2)
    assert consistency_loss(vectors[:, None], others[:, None]).item() == pytest.approx(10)
    pixels, other_pixels = vectors[:, :, None, None], others[:, :, None, None]
    assert consistency_loss(pixels, other_pixels).item() == pytest.approx(((0.6 - 1) ** 2 + 0.8**2) / 2)


def test_consistency_sends_no_gradient_to_the_teacher_and_computes_in_float32():
    student, teacher = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    consistency_loss(student, teacher).backward()
    assert teacher.grad is None and torch.allclose(student.grad, torch.full((2, 3), 1 / 3))
    assert consistency_loss(student.half(), teacher.half()).dtype == torch.float32
