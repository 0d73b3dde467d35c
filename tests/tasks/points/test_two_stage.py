"""Proposals, suppression, sampling and losses of the two-stage head against slow loops, mmdet and hand-worked boxes."""

import pytest
import torch
from torch.nn import functional as F

from foundationx.core import openmmlab
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.detection.boxes import generalised_iou, iou
from foundationx.tasks.detection.head_detection_unihead import truth_of
from foundationx.tasks.points.assignment import Truth, assign, closest, judged, sample
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.proposals import anchors_of, moved, steps_between
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.points.suppression import kept
from foundationx.tasks.points.two_stage import BoxStage, TwoStage
from tests.helpers.ranks_script import make_batch
from tests.helpers.squares import learn_squares
from tests.helpers.tiny_network import BACKBONE

KEY = TaskKey("detection", Task.DETECTION)
SIZES = {
    "channels": 16,
    "attention_heads": 2,
    "class_hidden": 16,
    "place_hidden": 16,
    "candidates": 64,
    "proposals": 40,
    "sampled": 32,
}
RELEASED = SIZES | {"as_released": True, "class_boxes": True}


def options(**more):
    return RegionOptions.model_validate(SIZES | more)


def model(**more):
    torch.manual_seed(0)
    heads = {"detection": {"type": "unihead", "options": SIZES | more}}
    return FoundationModel(ModelConfig.model_validate({"backbone": BACKBONE, "heads": heads}), {KEY: ("x", "y")})


def draw_boxes(batch, count):
    corners = torch.rand(batch, count, 2, 2).sort(dim=2).values
    return torch.cat([corners[:, :, 0], corners[:, :, 1]], dim=2)


def draw_pyramid(batch=2):
    return Pyramid.of([torch.randn(batch, 16, 16 >> level, 16 >> level) for level in range(5)])


def slow_kept(boxes, groups, threshold):
    chosen = []
    for index, box in enumerate(boxes):
        rivals = [other for other in chosen if groups[other] == groups[index]]
        if all(iou(box, boxes[other]) <= threshold for other in rivals):
            chosen.append(index)
    return [index in chosen for index in range(len(boxes))]


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_suppression_is_that_of_a_greedy_loop(threshold):
    torch.manual_seed(0)
    boxes = torch.cat([draw_boxes(3, 60), torch.tensor([[0.0, 0, 0, 0]]).expand(3, 5, 4)], dim=1)
    groups = torch.randint(2, (3, 65))
    found = kept(boxes, groups, threshold)
    for image in range(3):
        assert found[image].tolist() == slow_kept(boxes[image], groups[image], threshold)
    assert not found.all()


def test_a_long_chain_of_suppression_is_settled():
    """Each box overlaps the next alone: every second one stays."""
    left = torch.arange(20) * 0.03
    chain = torch.stack([left, left * 0, left + 0.05, left * 0 + 1], dim=1)[None]
    assert kept(chain, torch.zeros(1, 20, dtype=torch.int64), 0.2)[0].tolist() == [True, False] * 10


def test_anchors_and_their_steps_are_those_of_mmdet():
    openmmlab.prepare()
    from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder

    pyramid = draw_pyramid()
    anchors, levels = anchors_of(pyramid)
    generator = AnchorGenerator(strides=[4, 8, 16, 32, 64], ratios=[0.5, 1.0, 2.0], scales=[8], center_offset=0.5)
    expected = torch.cat(generator.grid_priors([(16 >> level,) * 2 for level in range(5)], device="cpu"))
    torch.testing.assert_close(anchors * 64, expected)
    assert levels.bincount().tolist() == [768, 192, 48, 12, 3]
    torch.manual_seed(1)
    steps, coder = torch.randn(len(anchors), 4), DeltaXYWHBBoxCoder(clip_border=False)
    torch.testing.assert_close(moved(anchors, steps) * 64, coder.decode(expected, steps), rtol=1e-4, atol=1e-3)
    boxes = draw_boxes(1, len(anchors))[0] + torch.tensor([0, 0, 0.05, 0.05])
    torch.testing.assert_close(steps_between(anchors, boxes), coder.encode(expected, boxes * 64), rtol=1e-4, atol=1e-4)


def test_positive_and_negative_anchors_are_those_of_mmdet():
    openmmlab.prepare()
    from mmdet.models.task_modules import MaxIoUAssigner
    from mmengine.structures import InstanceData

    torch.manual_seed(2)
    anchors, boxes = anchors_of(draw_pyramid())[0], draw_boxes(1, 6)
    assigner = MaxIoUAssigner(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True)
    truth = InstanceData(bboxes=boxes[0], labels=torch.zeros(6, dtype=torch.int64))
    expected = assigner.assign(InstanceData(priors=anchors), truth).gt_inds
    ours = Truth(boxes, torch.zeros(1, 6, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))
    overlaps = assign(anchors[None], ours).best[0]
    positive = (overlaps >= 0.7) | closest(anchors[None], ours, 0.3)[0, :, 0]
    assert torch.equal(positive, expected > 0) and positive.sum() > 6
    assert torch.equal((overlaps < 0.3) & ~positive, expected == 0)


def test_the_box_head_has_the_published_number_of_parameters():
    size = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
    assert size(BoxStage(81, RegionOptions(class_boxes=True))) == 13_163_410
    assert size(BoxStage(15, RegionOptions())) == 11_782_480
    assert size(TwoStage(3, RegionOptions(cascade=True)).stages) == 3 * size(BoxStage(3, RegionOptions()))


def test_a_sample_holds_a_share_of_positive_regions_and_nothing_that_does_not_count():
    torch.manual_seed(3)
    positive = torch.rand(3, 50) < torch.tensor([[0.8], [0.05], [0.0]])
    negative = ~positive & (torch.rand(3, 50) < 0.8)
    index, counts = sample(positive, negative, 20, 0.25)
    taken = positive.gather(1, index) & counts
    assert taken.sum(1).tolist() == [5, int(positive[1].sum()), 0]
    assert ((positive | negative).gather(1, index) | ~counts).all()
    assert all(len(set(row.tolist())) == 20 for row in index)
    assert counts.sum(1)[1:].tolist() == [20, 20]
    few = sample(positive[:, :4], negative[:, :4], 20, 0.25)
    assert few[0].shape == (3, 4)


def test_a_class_is_judged_where_it_is_known():
    regions = torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]])
    known = torch.tensor([[True, True], [True, False]])
    ignored = torch.tensor([[[0.0, 0, 0.6, 0.4]], [[0.0, 0, 0, 0]]])
    truth = Truth(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), known, ignored, torch.tensor([[1], [-1]]))
    assert judged(regions, truth).tolist() == [[[True, False], [True, True]], [[True, False], [True, False]]]
    assert truth.boxes.shape == (2, 1, 4) and truth.classes.tolist() == [[-1], [-1]]


def test_the_first_boxes_are_the_regions():
    torch.manual_seed(4)
    regions = draw_boxes(2, 7)
    for more in ({}, {"class_boxes": True}, {"points": 4}):
        stage, pyramid = BoxStage(3, options(**more)), draw_pyramid()
        expected = regions[:, :, None].expand_as(stage(pyramid, regions).boxes)
        torch.testing.assert_close(stage(pyramid, regions).boxes, expected, atol=0.05, rtol=0)
        torch.nn.init.zeros_(stage.mover.shifts.weight)  # the biases alone; the weights add noise to them
        torch.nn.init.zeros_(stage.scatter.offsets.weight)
        torch.testing.assert_close(stage(pyramid, regions).boxes, expected)


def slow_stage_losses(two_stage, stage, truth, is_valid, least):
    """Entry by entry; each sum as published: cross-entropies, and GIoU weighted by the IoU itself."""
    class_sum = giou_sum = iou_sum = weight = positives = 0.0
    for image in range(len(stage.regions)):
        for region in range(stage.regions.shape[1]):
            if not is_valid[image, region]:
                continue
            place = stage.regions[image, region]
            pairs = [
                (float(iou(place, box)), number, int(kind))
                for number, (box, kind) in enumerate(zip(truth.boxes[image], truth.classes[image], strict=True))
                if kind >= 0
            ]
            for k in range(truth.known.shape[1]):
                present = any(value >= least and kind == k for value, _, kind in pairs)
                if present or truth.known[image, k]:
                    logit = stage.logits[image, region, k]
                    class_sum += F.binary_cross_entropy_with_logits(logit, torch.tensor(float(present)))
            if pairs and max(pairs)[0] >= least:
                target, box = truth.boxes[image, max(pairs)[1]], stage.boxes[image, region, 0]
                overlap = iou(box, target).detach()
                giou_sum += overlap * (1 - generalised_iou(box, target))
                iou_sum += F.binary_cross_entropy_with_logits(stage.expected[image, region], overlap)
                weight, positives = weight + overlap, positives + 1
    return (class_sum, giou_sum, iou_sum), [weight, positives]


def test_losses_of_a_stage_are_those_of_a_slow_loop():
    torch.manual_seed(5)
    batch = make_batch(KEY)
    batch.labels[2, 1] = float("nan")
    two_stage, pyramid, truth = TwoStage(2, options()), draw_pyramid(8), truth_of(batch)
    outputs = two_stage(pyramid, truth)
    stage = outputs.stages[0]
    sums, numbers = two_stage._stage_losses(stage, truth, outputs.is_valid, 0.5)
    expected, expected_numbers = slow_stage_losses(two_stage, stage, truth, outputs.is_valid, 0.5)
    torch.testing.assert_close(torch.stack(sums), torch.stack([torch.as_tensor(value) for value in expected]))
    assert [float(number) for number in numbers] == pytest.approx([float(number) for number in expected_numbers])
    assert expected_numbers[1] >= 8
    losses = two_stage.losses(outputs)
    torch.testing.assert_close(losses["class"], sums[0] / outputs.is_valid.sum())
    torch.testing.assert_close(losses["giou"], sums[1] / numbers[0])
    torch.testing.assert_close(losses["iou"], sums[2] / numbers[1])


def test_a_cascade_looks_at_the_boxes_of_the_stage_before_and_weighs_its_losses():
    torch.manual_seed(6)
    two_stage, truth = TwoStage(2, options(cascade=True)), truth_of(make_batch(KEY))
    outputs = two_stage(draw_pyramid(8), truth)
    first, second, _ = outputs.stages
    assert torch.equal(second.regions, first.boxes[:, :, 0].clamp(0, 1)) and not second.regions.requires_grad
    total = 0.0
    for stage, least, weight in zip(outputs.stages, (0.5, 0.6, 0.7), (1, 0.5, 0.25), strict=True):
        sums, _ = two_stage._stage_losses(stage, truth, outputs.is_valid, least)
        total += weight * sums[0] / outputs.is_valid.sum()
    torch.testing.assert_close(two_stage.losses(outputs)["class"], total)


@pytest.mark.parametrize("sizes", [SIZES, RELEASED, SIZES | {"cascade": True}], ids=["ours", "released", "cascade"])
def test_every_parameter_learns_and_a_batch_without_boxes_keeps_the_graph(sizes):
    network = model(**sizes).train()
    images, batch = torch.randn(8, 3, 64, 64), make_batch(KEY)
    sum(network.losses(images, batch)[1].values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    empty = make_batch(KEY)
    empty.box_classes[:], empty.labels[:] = -1, float("nan")
    nothing = make_batch(KEY)
    nothing.centred_boxes, nothing.box_classes = torch.zeros(8, 0, 4), torch.zeros(8, 0, dtype=torch.int64)
    nothing.labels[:] = 0
    for given, learns in ((empty, False), (nothing, True)):
        network.zero_grad()
        losses = network.losses(images, given)[1]
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert (sum(parameter.grad.abs().sum() for parameter in network.parameters()) > 0) == learns
        assert losses["giou"] == losses["iou"] == 0


def test_an_unknown_class_gives_exactly_no_gradient():
    network, images, batch = model().train(), torch.randn(8, 3, 64, 64), make_batch(KEY)
    batch.box_classes[:] = torch.where(batch.box_classes > 0, -1, batch.box_classes)
    batch.labels[:, 0], batch.labels[:, 1] = 1, float("nan")
    sum(network.losses(images, batch)[1].values()).backward()
    head = network.head(KEY).two_stage
    known, unknown = head.stages[0].classifier.logits.weight.grad
    assert known.abs().sum() > 0 and (unknown == 0).all()
    of_class = head.proposals.logits.weight.grad.unflatten(0, (3, 2))
    assert of_class[:, 0].abs().sum() > 0 and (of_class[:, 1] == 0).all()


def test_released_softmax_calls_nothing_background_where_a_class_is_unknown():
    torch.manual_seed(7)
    batch = make_batch(KEY)
    two_stage = TwoStage(2, options(**RELEASED))
    outputs = two_stage(draw_pyramid(8), truth_of(batch))
    stage = outputs.stages[0]
    assert stage.logits.shape[2] == 3 and outputs.anchored.logits.shape[2] == 1 and stage.boxes.shape[2] == 2
    entries = two_stage._class_entries(stage, assign(stage.regions, outputs.truth), outputs.truth, 0.5)
    assert (entries > 0).all()
    batch.labels[0, 1] = float("nan")
    truth = truth_of(batch)
    assigned = assign(stage.regions, truth)
    entries = two_stage._class_entries(stage, assigned, truth, 0.5)
    assert torch.equal(entries[0] > 0, assigned.best[0] >= 0.5) and (entries[1:] > 0).all()


def test_predictions_do_not_depend_on_the_order_of_images():
    network, images = model().eval(), torch.randn(3, 3, 64, 64)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        there, again = network.predict(images, KEY), network.predict(images[order], KEY)
    torch.testing.assert_close(again.scores, there.scores[order])
    torch.testing.assert_close(again.relative_boxes, there.relative_boxes[order])
    assert (there.scores.diff(dim=1) <= 0).all() and there.relative_boxes.min() >= 0


@pytest.mark.slow
def test_it_learns_to_find_a_square():
    torch.manual_seed(8)
    overlaps, is_right = learn_squares(model().train(), make_batch(KEY), KEY, steps=120)
    assert overlaps.mean() > 0.6
    assert is_right.sum() >= 7
