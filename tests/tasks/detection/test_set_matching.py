"""The criterion against brute force and, layer by layer, against mmdet's assigner and losses image by image."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core import openmmlab
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.matching import Targets, _costs, match, set_losses

CLASSES, SIDE = 3, 200


def draw(counts, layers=2, queries=5, seed=0):
    """Logits, boxes and targets; an image has ``counts`` targets, the padding stands behind them."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(*shape):
        size = torch.rand(*shape, 2, generator=generator) * 0.3 + 0.05
        return torch.cat([size / 2 + torch.rand(*shape, 2, generator=generator) * (1 - size), size], dim=-1)

    real = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    classes = torch.randint(CLASSES, real.shape, generator=generator).masked_fill(~real, -1)
    known = torch.ones(len(counts), CLASSES, dtype=torch.bool)
    logits = torch.randn(layers, len(counts), queries, CLASSES, generator=generator)
    targets = Targets(boxes(*real.shape) * real[..., None], classes, known)
    return logits.requires_grad_(), boxes(layers, len(counts), queries).requires_grad_(), targets


def mmdet_costs(logits, boxes, corners, labels):
    """(Q, T) cost of one image of one layer, of mmdet's own cost classes with DINO's weights."""
    openmmlab.prepare()
    from mmdet.models.task_modules import BBoxL1Cost, FocalLossCost, IoUCost
    from mmengine.structures import InstanceData

    result = InstanceData(scores=logits, bboxes=to_corners(boxes) * SIDE)
    truth, meta = InstanceData(bboxes=corners, labels=labels), {"img_shape": (SIDE, SIDE)}
    costs = (FocalLossCost(weight=2.0), BBoxL1Cost(weight=5.0, box_format="xywh"), IoUCost("giou", weight=2.0))
    return sum(cost(result, truth, img_meta=meta) for cost in costs)


def mmdet_layer(logits, boxes, targets):
    """Class, box and GIoU loss of one layer, (B, Q, K) and (B, Q, 4), image by image, by mmdet's modules."""
    openmmlab.prepare()
    from mmdet.models.losses import FocalLoss, GIoULoss, L1Loss
    from mmdet.models.task_modules import HungarianAssigner
    from mmengine.structures import InstanceData

    assigner = HungarianAssigner(
        [
            {"type": "mmdet.FocalLossCost", "weight": 2.0},
            {"type": "mmdet.BBoxL1Cost", "weight": 5.0, "box_format": "xywh"},
            {"type": "mmdet.IoUCost", "iou_mode": "giou", "weight": 2.0},
        ]
    )
    labels, pairs = [], []
    for image in range(len(logits)):
        real = targets.classes[image] >= 0
        truth = InstanceData(bboxes=to_corners(targets.boxes[image, real]) * SIDE, labels=targets.classes[image, real])
        result = InstanceData(scores=logits[image], bboxes=to_corners(boxes[image]) * SIDE)
        assigned = assigner.assign(result, truth, img_meta={"img_shape": (SIDE, SIDE)})
        positive = assigned.gt_inds > 0
        labels.append(torch.where(positive, assigned.labels, CLASSES))
        pairs.append((boxes[image, positive], targets.boxes[image, real][assigned.gt_inds[positive] - 1]))
    predicted, expected = (torch.cat(side) for side in zip(*pairs, strict=True))
    number = max(len(predicted), 1)
    class_loss = FocalLoss(use_sigmoid=True)(logits.flatten(0, 1), torch.cat(labels), avg_factor=number)
    box_loss = L1Loss(loss_weight=5.0)(predicted, expected, avg_factor=number)
    corners = to_corners(predicted) * SIDE, to_corners(expected) * SIDE
    return torch.stack([class_loss, box_loss, GIoULoss(loss_weight=2.0)(*corners, avg_factor=number)])


def compare_with_mmdet(logits, boxes, targets, merge=lambda gradient: gradient):
    expected = torch.stack([mmdet_layer(*layer, targets) for layer in zip(logits, boxes, strict=True)])
    result = set_losses(logits, boxes, targets)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    weights = torch.rand(result.shape, generator=torch.Generator().manual_seed(9))
    own = torch.autograd.grad((result * weights).sum(), (logits, boxes))
    other = torch.autograd.grad((expected * weights).sum(), (logits, boxes))
    for mine, theirs in zip(own, other, strict=True):
        torch.testing.assert_close(merge(mine), merge(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("counts", "queries"),
    [((0, 0), 4), ((2, 0, 3), 6), ((0, 0, 1), 4), ((5, 2, 0), 3), ((7, 7), 2), ((1,), 1), ((4, 9, 0, 6), 30)],
)
def test_every_layer_equals_mmdet_also_with_more_targets_than_queries(counts, queries):
    compare_with_mmdet(*draw(counts, layers=4, queries=queries, seed=queries))


@pytest.mark.parametrize("scale", [30.0, 100.0, 1e4])
def test_costs_of_saturated_logits_equal_mmdets_and_are_finite(scale):
    """float32 rounds their probabilities to 0 and 1, whose logarithm is bounded by the 1e-12 that is added."""
    logits, boxes, targets = draw((3, 2), queries=6)
    logits = (logits.detach().sign() * scale).requires_grad_()
    costs = _costs(logits.detach(), boxes.detach(), targets)
    assert costs.isfinite().all()
    for layer in range(2):
        for image, count in enumerate((3, 2)):
            corners = to_corners(targets.boxes[image, :count]) * SIDE
            theirs = mmdet_costs(logits[layer, image], boxes[layer, image], corners, targets.classes[image, :count])
            torch.testing.assert_close(costs[layer, image, :, :count], theirs.detach(), atol=1e-3, rtol=1e-4)
    # -log(1e-12) = 27.63: a saturated negative costs 0.25 of it, a saturated positive gains 0.75, both times 2
    high = torch.tensor([[[[scale, -scale, 0.0]]]])
    two = Targets(torch.full((1, 2, 4), 0.5), torch.tensor([[0, 1]]), torch.ones(1, 3, dtype=torch.bool))
    gap = _costs(high, torch.full((1, 1, 1, 4), 0.5), two)[0, 0, 0]
    assert float(gap[1] - gap[0]) == pytest.approx(2 * 27.631, rel=1e-3)


def test_costs_that_are_not_numbers_never_win():
    logits, boxes, targets = draw((1,), layers=1, queries=3)
    broken = boxes.detach().clone()
    broken[0, 0, 0] = float("nan")
    assert float(_costs(logits.detach(), broken, targets)[0, 0, 0, 0]) == 1e4
    assert int(match(logits, broken, targets)[0, 0, 0]) != 0


def test_ties_cost_what_mmdets_cost():
    # Every query stands there twice, so equal assignments abound: the twins' gradients add up to the same.
    logits, boxes, targets = draw((3, 2), queries=4)
    logits, boxes = (values.detach().repeat(1, 1, 2, 1).requires_grad_() for values in (logits, boxes))
    compare_with_mmdet(logits, boxes, targets, merge=lambda g: g[:, :, :4] + g[:, :, 4:])


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=3), queries=st.integers(1, 5), seed=st.integers(0, 999))
def test_matching_is_the_cheapest_of_all_permutations(counts, queries, seed):
    logits, boxes, targets = draw(counts, queries=queries, seed=seed)
    matched = match(logits, boxes, targets)
    assert matched.shape == (2, len(counts), max(counts)) and matched.dtype == torch.int64
    for layer in range(2):
        for image, count in enumerate(counts):
            pairs = [(query, target) for target, query in enumerate(matched[layer, image].tolist()) if query >= 0]
            assert len(pairs) == min(queries, count) == len({query for query, _ in pairs})
            if not count:
                continue
            corners = to_corners(targets.boxes[image, :count]) * SIDE
            cost = mmdet_costs(logits[layer, image], boxes[layer, image], corners, targets.classes[image, :count])
            if count > queries:
                cost, pairs = cost.T, [(target, query) for query, target in pairs]
            sums = (
                sum(cost[row, column].item() for column, row in enumerate(rows))
                for rows in permutations(range(cost.shape[0]), cost.shape[1])
            )
            assert sum(cost[pair].item() for pair in pairs) == pytest.approx(min(sums), abs=1e-4)


def test_known_classes_of_images_without_boxes_are_pushed_down_and_unknown_ones_not_at_all():
    logits, boxes, targets = draw((2, 0, 1), layers=3)
    targets.classes[targets.classes == 2] = 0
    targets.known[1, 2] = targets.known[0, 2] = False
    set_losses(logits, boxes, targets).sum().backward()
    assert (logits.grad[:, 1, :, :2] > 0).all(), "a step downhill lowers every score"
    assert torch.equal(logits.grad[:, :2, :, 2], torch.zeros(3, 2, 5))
    assert not boxes.grad[:, 1].any()


def test_unknown_logits_change_neither_loss_nor_matching():
    logits, boxes, targets = draw((3, 2))
    targets.classes[targets.classes == 2] = 1
    targets.known[:, 2] = False
    changed = logits.detach().clone()
    changed[..., 2] = torch.randn(changed.shape[:-1]) * 20
    assert torch.equal(match(logits, boxes, targets), match(changed, boxes, targets))
    assert torch.equal(set_losses(logits, boxes, targets), set_losses(changed, boxes, targets))


def test_where_the_padding_stands_does_not_matter():
    logits, boxes, targets = draw((3, 1))
    order = torch.tensor([2, 0, 1])
    moved = Targets(targets.boxes[:, order], targets.classes[:, order], targets.known)
    torch.testing.assert_close(set_losses(logits, boxes, moved), set_losses(logits, boxes, targets))
    assert torch.equal(match(logits, boxes, moved), match(logits, boxes, targets)[:, :, order])
