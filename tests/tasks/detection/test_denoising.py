"""Denoising inside the whole head: what a group, the padding and unknown classes can and cannot reach."""

import torch
from torch import nn

from foundationx.tasks.detection.boxes import generalised_iou, to_corners
from foundationx.tasks.detection.denoising import make_denoising
from foundationx.tasks.detection.matching import Targets
from tests.helpers.detection_samples import CLASSES, SMALL, build, draw_batch, draw_features, small


def run(batch, features=None, config=SMALL):
    """Head and outputs of a training pass; the seed is that of the noise."""
    trunk, head = build(config)
    features = draw_features(len(batch)) if features is None else features
    trunk.train(), head.train()
    torch.manual_seed(3)
    return head, head(trunk(features), trunk, batch)


def test_outputs_of_a_group_depend_on_no_other_group_and_matching_ones_on_none(monkeypatch):
    kept = []

    def keep(*arguments):
        denoising = make_denoising(*arguments)
        denoising.content = denoising.content.detach().requires_grad_()
        kept.append(denoising.content)
        return denoising

    monkeypatch.setattr("foundationx.tasks.detection.head.make_denoising", keep)
    _, outputs = run(draw_batch((2, 2)))
    size, groups = 2 * 2, SMALL.denoising // 2
    content, logits = kept[0], outputs.denoised[0]
    assert content.shape[1] == logits.shape[2] == groups * size
    for group in range(groups):
        part = logits[:, :, group * size : (group + 1) * size]
        (gradient,) = torch.autograd.grad(part.sum(), content, retain_graph=True)
        reached = gradient.abs().sum((0, 2)) > 0
        expected = torch.arange(groups * size) // size == group
        assert torch.equal(reached, expected), "its own group, all of it, and nothing else"
    (gradient,) = torch.autograd.grad(outputs.logits.sum(), content, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_denoising_queries_see_the_matching_ones():
    head, outputs = run(draw_batch((2, 2)))
    (gradient,) = torch.autograd.grad(outputs.denoised[0].sum(), head.queries.weight)
    assert gradient.any()


def test_an_image_is_predicted_the_same_whatever_padding_its_batch_brings():
    features, batch = draw_features(2), draw_batch((1, 5))
    alone = draw_batch((1,))
    alone.centred_boxes, alone.box_classes = batch.centred_boxes[:1, :1], batch.box_classes[:1, :1]
    _, together = run(batch, features)
    _, single = run(alone, [feature[:1] for feature in features])
    torch.testing.assert_close(together.logits[:, :1], single.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.boxes[:, :1], single.boxes, atol=1e-5, rtol=1e-5)


def test_padding_teaches_no_label_and_no_box():
    batch = draw_batch((1, 4))
    batch.box_classes[batch.box_classes >= 0] = 1  # padding is looked up as class 0
    head, outputs = run(batch, config=small(label_noise=0.0))
    loss = head.loss(outputs, batch)["denoising"]
    labels, boxes = torch.autograd.grad(loss, (head.label_embedding.weight, outputs.denoised[1]))
    assert labels.any(1).tolist() == [False, True, False]
    # Each group has four queries to fix, then four to reject; the first image has one true target, the other four.
    position = torch.arange(boxes.shape[2]) % 8
    taught = torch.stack([position < 1, position < 4])
    assert torch.equal(boxes.any(-1), taught.expand(len(boxes), -1, -1))


def test_unknown_classes_get_no_gradient_anywhere_and_known_ones_do():
    batch = draw_batch((2, 3))
    batch.box_classes[0][batch.box_classes[0] == 1] = 0
    batch.labels[0, 1] = torch.nan
    head, outputs = run(batch)
    outputs.logits.retain_grad(), outputs.denoised[0].retain_grad()
    sum(head.loss(outputs, batch).values()).backward()
    for gradient in (outputs.logits.grad, outputs.denoised[0].grad):
        assert torch.equal(gradient[:, 0, :, 1], torch.zeros_like(gradient[:, 0, :, 1]))
        assert (gradient[:, 1] != 0).all() and (gradient[:, 0][..., [0, 2]] != 0).all()


def test_queries_to_restore_lie_nearer_than_those_to_reject():
    torch.manual_seed(0)
    boxes = torch.cat([torch.rand(50, 4, 2) * 0.4 + 0.3, torch.rand(50, 4, 2) * 0.2 + 0.02], dim=-1)
    targets = Targets(boxes, torch.zeros(50, 4, dtype=torch.int64), torch.ones(50, CLASSES, dtype=torch.bool))
    denoising = make_denoising(targets, nn.Embedding(CLASSES, 5), 8, 0.0, 1.0, 7)
    noisy = to_corners(denoising.boxes).view(50, 2, 2, 4, 4)
    truth = to_corners(boxes)[:, None, None]
    distance = (noisy - truth).abs().amax(-1) / boxes[:, None, None, :, 2:].amax(-1)
    assert (distance[:, :, 0] < 0.5 + 1e-4).all()
    overlap = generalised_iou(noisy, truth)
    assert overlap[:, :, 0].mean() > 0.3 > 0 > overlap[:, :, 1].mean()


def test_boxes_at_the_rim_stay_in_the_image():
    corner = torch.tensor([[[0.05, 0.05, 0.1, 0.1], [0.9, 0.95, 0.2, 0.1]]])
    targets = Targets(corner, torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, CLASSES, dtype=torch.bool))
    for _ in range(20):
        corners = to_corners(make_denoising(targets, nn.Embedding(CLASSES, 5), 20, 0.5, 1.0, 7).boxes)
        assert corners.min() >= -1e-6 and corners.max() <= 1 + 1e-6
