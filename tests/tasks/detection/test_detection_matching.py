"""The batched criterion against mmdet's DINOHead, by hand, and in what it asks of the host."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foundationx.core import openmmlab
from foundationx.tasks.detection.boxes import focal_loss, generalised_iou, to_centre_and_size, to_corners
from foundationx.tasks.detection.matching import Targets, match, matched_losses, set_losses
from tests.helpers.host_traffic import Dispatched, HostTraffic

LAYERS, QUERIES, CLASSES, SIDE = 4, 12, 3, 224
COUNTS = (3, 0, 5, 1)


def draw_boxes(*shape):
    """Centre and size, wholly inside the image, sides of 5 to 40 %."""
    size = torch.rand(*shape, 2) * 0.35 + 0.05
    return torch.cat([size / 2 + torch.rand(*shape, 2) * (1 - size), size], dim=-1)


def draw_targets(counts=COUNTS, classes=CLASSES):
    most = max(counts)
    real = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    labels = torch.randint(classes, (len(counts), most)).masked_fill(~real, -1)
    return Targets(
        draw_boxes(len(counts), most) * real[..., None], labels, torch.ones(len(counts), classes, dtype=torch.bool)
    )


def draw_predictions(batch=4, layers=LAYERS, queries=QUERIES):
    logits, boxes = torch.randn(layers, batch, queries, CLASSES), draw_boxes(layers, batch, queries)
    return logits.requires_grad_(), boxes.requires_grad_()


def mmdet_head(layers):
    """mmdet's head with the losses and costs of its DINO configurations."""
    focal = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
    costs = [
        {"type": "FocalLossCost", "weight": 2.0},
        {"type": "BBoxL1Cost", "weight": 5.0, "box_format": "xywh"},
        {"type": "IoUCost", "iou_mode": "giou", "weight": 2.0},
    ]
    return openmmlab.build_mm(
        {
            "type": "mmdet.DINOHead",
            "num_classes": CLASSES,
            "sync_cls_avg_factor": True,
            "loss_cls": focal,
            "loss_bbox": {"type": "L1Loss", "loss_weight": 5.0},
            "loss_iou": {"type": "GIoULoss", "loss_weight": 2.0},
            "train_cfg": {"assigner": {"type": "HungarianAssigner", "match_costs": costs}},
            "share_pred_layer": False,
            "num_pred_layer": layers,
            "as_two_stage": True,
        }
    )


def mmdet_losses(logits, boxes, targets, groups):
    """Losses by mmdet of proposals (layer 0) and decoder layers; ``groups`` of denoising queries stand in front."""
    from mmengine.structures import InstanceData

    truth = []
    for image in range(len(targets.classes)):
        real = targets.classes[image] >= 0
        corners = to_corners(targets.boxes[image, real]) * SIDE
        truth.append(InstanceData(bboxes=corners, labels=targets.classes[image, real]))
    metas = [{"img_shape": (SIDE, SIDE)}] * len(truth)
    number = groups * 2 * targets.classes.shape[1]
    meta = {"num_denoising_queries": number, "num_denoising_groups": groups}
    return mmdet_head(len(logits)).loss_by_feat(
        logits[1:], boxes[1:], logits[0, :, number:], boxes[0, :, number:], truth, metas, meta
    )


def by_kind(losses, part):
    """mmdet's losses of one part ("" decoder layers, "enc_", "dn_") summed over layers: class, box, GIoU."""
    sums = dict.fromkeys(("cls", "bbox", "iou"), 0.0)
    for name, value in losses.items():
        head, _, kind = name.split(".")[-1].rpartition("loss_")
        if head == part:
            sums[kind] = sums[kind] + value.squeeze()
    return torch.stack(list(sums.values()))


@pytest.mark.parametrize("counts", [COUNTS, (0, 0, 2, 0), (11, 4, 0, 12)])
def test_equals_mmdet_in_losses_and_gradients(counts):
    torch.manual_seed(0)
    targets = draw_targets(counts)
    logits, boxes = draw_predictions()
    # mmdet's head cannot do without denoising queries in front; their losses are left out here.
    front = 2 * max(counts)
    theirs = mmdet_losses(
        torch.cat([torch.zeros(LAYERS, 4, front, CLASSES), logits], dim=2),
        torch.cat([draw_boxes(LAYERS, 4, front), boxes], dim=2),
        targets,
        groups=1,
    )
    expected = torch.stack([by_kind(theirs, "enc_"), by_kind(theirs, "")])
    expected_gradients = torch.autograd.grad(expected.sum(), (logits, boxes))

    losses = set_losses(logits, boxes, targets)
    result = torch.stack([losses[0], losses[1:].sum(0)])
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    for own, other in zip(torch.autograd.grad(result.sum(), (logits, boxes)), expected_gradients, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_denoising_losses_equal_mmdets():
    torch.manual_seed(1)
    from torch import nn

    from foundationx.tasks.detection.denoising import make_denoising

    targets = draw_targets()
    denoising = make_denoising(targets, nn.Embedding(CLASSES, 8), 10, 0.5, 1.0, QUERIES)
    groups = 10 // max(COUNTS)
    number = groups * 2 * max(COUNTS)
    logits, boxes = draw_predictions(queries=number + QUERIES)
    expected = by_kind(mmdet_losses(logits, boxes, targets, groups), "dn_")
    matched = denoising.matched.expand(LAYERS - 1, -1, -1)
    result = matched_losses(logits[1:, :, :number], boxes[1:, :, :number], denoising.repeated, matched).sum(0)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    expected_gradients = torch.autograd.grad(expected.sum(), (logits, boxes))
    for own, other in zip(torch.autograd.grad(result.sum(), (logits, boxes)), expected_gradients, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_matching_by_hand():
    # Both queries lie on the first target, the second a little better; the other target is far from both. Giving the
    # nearer query to the first target costs least in sum, whatever the order of targets and with padding between.
    boxes = torch.tensor([[0.25, 0.25, 0.1, 0.1], [0.21, 0.2, 0.1, 0.1]])[None, None]
    targets = Targets(
        torch.tensor([[[0.8, 0.8, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.1, 0.1]]]),
        torch.tensor([[0, -1, 0]]),
        torch.ones(1, 1, dtype=torch.bool),
    )
    assert match(torch.zeros(1, 1, 2, 1), boxes, targets).tolist() == [[[0, -1, 1]]]


def test_losses_by_hand():
    # One query on a target of half its width: IoU 1/2, hull = the query. Logit 0 of the right class.
    boxes = torch.tensor([0.5, 0.5, 0.4, 0.4]).view(1, 1, 1, 4)
    targets = Targets(torch.tensor([[[0.4, 0.5, 0.2, 0.4]]]), torch.tensor([[1]]), torch.ones(1, 2, dtype=torch.bool))
    losses = set_losses(torch.zeros(1, 1, 1, 2), boxes, targets)[0]
    log2 = float(np.log(2))
    assert losses.tolist() == pytest.approx([(0.25 + 0.75) * 0.25 * log2, 5 * (0.1 + 0.2), 2 * 0.5], abs=1e-5)


def test_more_targets_than_queries_match_the_cheapest():
    targets = draw_targets((5,))
    boxes = targets.boxes[:, [3, 1]][None]
    logits = torch.full((1, 1, 2, CLASSES), -3.0)
    logits[0, 0, [0, 1], targets.classes[0, [3, 1]]] = 3
    assert match(logits, boxes, targets).tolist() == [[[-1, 1, -1, 0, -1]]]
    assert set_losses(logits, boxes, targets)[0, 1:].abs().max() < 1e-5


@pytest.mark.parametrize("padding", [0, 2])
def test_without_any_box_only_the_class_loss_pushes(padding):
    targets = Targets(
        torch.zeros(4, padding, 4), torch.full((4, padding), -1), torch.ones(4, CLASSES, dtype=torch.bool)
    )
    logits, boxes = draw_predictions()
    losses = set_losses(logits, boxes, targets)
    expected = focal_loss(logits, torch.zeros_like(logits)).sum((1, 2, 3))
    torch.testing.assert_close(losses[:, 0], expected)
    assert torch.equal(losses[:, 1:], torch.zeros(LAYERS, 2))
    losses.sum().backward()
    assert torch.equal(boxes.grad, torch.zeros_like(boxes)), "the graph is kept, with zero gradient"


def test_unknown_classes_get_exactly_zero_gradient():
    torch.manual_seed(2)
    targets = draw_targets()
    targets.classes[targets.classes == 2] = 1  # class 2 has no box anywhere: unknown in images 0 and 1
    targets.known[:2, 2] = False
    logits, boxes = draw_predictions()
    set_losses(logits, boxes, targets).sum().backward()
    assert torch.equal(logits.grad[:, :2, :, 2], torch.zeros(LAYERS, 2, QUERIES))
    assert (logits.grad[:, 2:] != 0).all() and (logits.grad[:, :2, :, :2] != 0).all()


def test_predictions_that_are_not_numbers_do_not_stop_the_matching():
    targets = draw_targets()
    logits, boxes = draw_predictions()
    with torch.no_grad():
        logits[0, 0, 0], boxes[1, 2, 3] = torch.nan, torch.nan
    matched = match(logits, boxes, targets)
    assert ((matched >= 0) == (targets.classes >= 0)).all()


def test_operations_and_host_traffic_do_not_grow_with_the_batch():
    seen = []
    for batch, layers in ((2, 7), (24, 7), (24, 2)):
        targets = draw_targets([number % 5 for number in range(batch)])
        logits, boxes = draw_predictions(batch, layers)
        with HostTraffic() as traffic, Dispatched() as operations:
            set_losses(logits, boxes, targets).sum().backward()
        assert traffic.calls == {"cpu": 1, "numpy": 1, "to device": 1}
        assert not {"_local_scalar_dense", "nonzero", "_unique2"} & set(operations.calls)
        assert operations.calls["lift_fresh"] == 1, "one tensor is made of values of the host: the assignment"
        seen.append(operations.calls)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0].total() < 500


def test_giou_and_focal_loss_equal_mmdets():
    openmmlab.prepare()
    from mmdet.models.losses import focal_loss as theirs
    from mmdet.structures.bbox import bbox_overlaps

    first, second = draw_boxes(6), draw_boxes(9)
    ours = generalised_iou(to_corners(first)[:, None], to_corners(second)[None])
    torch.testing.assert_close(ours, bbox_overlaps(to_corners(first), to_corners(second), mode="giou"))
    logits, targets = torch.randn(20, 4), (torch.rand(20, 4) > 0.7).float()
    settings = SimpleNamespace(alpha=0.25, gamma=2.0)
    expected = theirs.py_sigmoid_focal_loss(logits, targets, reduction="none", **vars(settings))
    torch.testing.assert_close(focal_loss(logits, targets), expected)


def test_degenerate_boxes_have_finite_gradients():
    point = torch.tensor([[0.5, 0.5, 0.0, 0.0]], requires_grad=True)
    generalised_iou(to_corners(point), to_corners(torch.tensor([[0.5, 0.5, 0.0, 0.0]]))).sum().backward()
    assert point.grad.isfinite().all()


def test_the_two_forms_of_boxes_are_inverse():
    boxes = draw_boxes(5, 3)
    torch.testing.assert_close(to_centre_and_size(to_corners(boxes)), boxes)
