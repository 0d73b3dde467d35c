"""One-stage UniHead: assignment against mmdet's, first boxes, losses against a slow loop, and what is unknown."""

import pytest
import torch
from torch.nn import functional as F

from foundationx.core import openmmlab
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.detection.boxes import generalised_iou, iou
from foundationx.tasks.detection.head_detection_unihead import truth_of
from foundationx.tasks.points.assignment import Truth
from foundationx.tasks.points.locations import place
from foundationx.tasks.points.one_stage import OneStage, OneStageOptions
from foundationx.tasks.points.proposals import anchors_of
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk
from tests.helpers.ranks_script import make_batch
from tests.helpers.squares import learn_squares
from tests.helpers.tiny_network import BACKBONE

KEY = TaskKey("detection", Task.DETECTION)
SIZES = {"channels": 16, "attention_heads": 2, "class_hidden": 16, "place_hidden": 16, "points": 8}
RULES = ("atss", "fcos")
SIDE = 128  # of an image with the pyramid below, in pixels


def options(**more):
    return OneStageOptions.model_validate(SIZES | more)


def draw_pyramid(batch=2):
    return Pyramid.of([torch.randn(batch, 16, 16 >> level, 16 >> level) for level in range(5)], stride=8)


def draw_truth(batch=3, count=6, classes=1):
    corners = torch.rand(batch, count, 2, 2).sort(dim=2).values
    boxes = torch.cat([corners[:, :, 0], corners[:, :, 1]], dim=2)
    return Truth(boxes, torch.randint(classes, (batch, count)), torch.ones(batch, classes, dtype=torch.bool))


def model(**more):
    torch.manual_seed(0)
    heads = {"detection": {"type": "unihead_one_stage", "options": SIZES | more}}
    return FoundationModel(ModelConfig.model_validate({"backbone": BACKBONE, "heads": heads}), {KEY: ("x", "y")})


def test_the_rule_of_atss_is_that_of_mmdet():
    openmmlab.prepare()
    from mmdet.models.task_modules.assigners import ATSSAssigner
    from mmengine.structures import InstanceData

    torch.manual_seed(1)
    pyramid, truth = draw_pyramid(), draw_truth()
    regions, levels = anchors_of(pyramid, (1.0,))
    placed = place("atss", pyramid, regions, levels, truth)
    for image, boxes in enumerate(truth.boxes):
        given = InstanceData(bboxes=boxes * SIDE, labels=truth.classes[image])
        priors = InstanceData(priors=regions * SIDE)
        expected = ATSSAssigner(topk=9).assign(priors, levels.bincount().tolist(), given).gt_inds
        assert torch.equal(placed.positive[image], expected > 0) and placed.positive[image].any()
        own = placed.positive[image]
        assert torch.equal(placed.index[image][own], expected[own] - 1)


def test_the_rule_of_fcos_is_that_of_mmdet():
    openmmlab.prepare()
    from types import SimpleNamespace

    from mmdet.models.dense_heads.fcos_head import FCOSHead
    from mmengine.structures import InstanceData

    torch.manual_seed(2)
    pyramid, truth = draw_pyramid(), draw_truth(count=8)
    regions, levels = anchors_of(pyramid, (1.0,))
    placed = place("fcos", pyramid, regions, levels, truth)
    ranges = torch.tensor([(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)])
    settings = SimpleNamespace(
        num_classes=1, center_sampling=True, center_sample_radius=1.5, strides=[8, 16, 32, 64, 128]
    )
    points = (regions[:, :2] + regions[:, 2:]) / 2 * SIDE
    for image, boxes in enumerate(truth.boxes):
        given = InstanceData(bboxes=boxes * SIDE, labels=torch.zeros(8, dtype=torch.int64))
        labels, distances = FCOSHead._get_targets_single(
            settings, given, points, ranges[levels], levels.bincount().tolist()
        )
        own = placed.positive[image]
        assert torch.equal(own, labels == 0) and own.any()
        corners = torch.cat([points - distances[:, :2], points + distances[:, 2:]], dim=1)
        torch.testing.assert_close(boxes[placed.index[image]][own] * SIDE, corners[own])


def test_the_levels_of_fcos_are_used_by_size():
    pyramid = draw_pyramid(1)
    sides = torch.tensor([0.1, 0.7, 1.0])  # 13, 90 and 128 pixels: farthest sides of 6 to 128 pixels
    boxes = torch.cat([0.5 - sides[:, None].expand(-1, 2) / 2, 0.5 + sides[:, None].expand(-1, 2) / 2], dim=1)[None]
    truth = Truth(boxes + 0.01, torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))
    regions, levels = anchors_of(pyramid, (1.0,))
    placed = place("fcos", pyramid, regions, levels, truth)
    used = {int(level) for level in levels[placed.positive[0]]}
    assert used == {0, 1}, "64 pixels and less on stride 8, up to 128 on stride 16"


@pytest.mark.parametrize("rule", RULES)
def test_a_region_in_truths_of_two_classes_holds_both(rule):
    pyramid = draw_pyramid(1)
    boxes = torch.tensor([[[0.3, 0.3, 0.7, 0.7], [0.32, 0.3, 0.7, 0.7], [0.0, 0.0, 0.0, 0.0]]])
    truth = Truth(boxes, torch.tensor([[0, 1, -1]]), torch.ones(1, 3, dtype=torch.bool))
    placed = place(rule, pyramid, *anchors_of(pyramid, (1.0,)), truth)
    both = placed.present[0, :, 0] & placed.present[0, :, 1]
    assert both.any() and not placed.present[..., 2].any()
    assert torch.equal(placed.positive, placed.present.any(dim=2))


@pytest.mark.parametrize("as_released", [False, True])
def test_the_first_boxes_are_squares_of_eight_cells_around_every_cell(as_released):
    torch.manual_seed(3)
    stage, pyramid = OneStage(2, options(as_released=as_released)), draw_pyramid()
    outputs = stage(pyramid)
    size = outputs.regions[:, 2:] - outputs.regions[:, :2]
    assert len(outputs.regions) == 256 + 64 + 16 + 4 + 1
    torch.testing.assert_close(size[[0, 256, 340]], torch.tensor([0.5, 1.0, 8.0])[:, None].expand(-1, 2))
    torch.testing.assert_close((outputs.regions[0, :2] + outputs.regions[0, 2:]) / 2, torch.tensor([1 / 32] * 2))
    off = (outputs.boxes - outputs.regions) / size.repeat(1, 2)
    assert off.abs().max() < 0.1, "the weights add noise to the biases"
    torch.nn.init.zeros_(stage.mover.shifts.weight)
    torch.nn.init.zeros_(stage.scatter.offsets.weight)
    half = 0.5 / SIDE if as_released else 0.0  # a released region is a pixel larger
    expected = outputs.regions + half * torch.tensor([-1, -1, 1, 1])
    torch.testing.assert_close(stage(pyramid).boxes, expected.expand(2, -1, -1))


def test_sizes_of_the_published_head():
    size = sum(parameter.numel() for parameter in OneStage(80, OneStageOptions()).parameters())
    offset = 9 * 256 * 256 + 2 * 256 + 9 * 256 * 32 + 32
    classes = 256 + 2 * 395_008 + 17 * 256 * 1024 + 1024 + 1024 * 80 + 80
    expected = 256 * 256 + 256 + 256 + 1
    places = 256 + 3 * 395_008 + 16 * 256 * 512 + 512 + 512 * 32 + 32
    assert size == offset + classes + expected + places


def slow_losses(outputs):
    """Entry by entry."""
    class_sum = giou_sum = iou_sum = weight = positives = 0.0
    truth, placed = outputs.truth, outputs.placed
    for image in range(len(outputs.logits)):
        for region in range(outputs.logits.shape[1]):
            for k in range(outputs.logits.shape[2]):
                present = bool(placed.present[image, region, k])
                if present or truth.known[image, k]:
                    p = outputs.logits[image, region, k].double().sigmoid()
                    class_sum -= 0.25 * (1 - p) ** 2 * p.log() if present else 0.75 * p**2 * (1 - p).log()
            if placed.positive[image, region]:
                box, target = outputs.boxes[image, region], truth.boxes[image, placed.index[image, region]]
                overlap = iou(box, target).detach()
                giou_sum += overlap * (1 - generalised_iou(box, target))
                iou_sum += F.binary_cross_entropy_with_logits(outputs.expected[image, region], overlap)
                weight, positives = weight + overlap, positives + 1
    return {"class": class_sum / positives, "giou": giou_sum / weight, "iou": iou_sum / positives}


@pytest.mark.parametrize("rule", RULES)
def test_losses_are_those_of_a_slow_loop(rule):
    torch.manual_seed(4)
    batch = make_batch(KEY)
    batch.labels[2, 1] = float("nan")
    stage = OneStage(2, options(assign=rule))
    outputs = stage(draw_pyramid(8), truth_of(batch))
    losses, expected = stage.losses(outputs), slow_losses(outputs)
    assert outputs.placed.positive.sum() >= 8
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value.float(), msg=name)


@pytest.mark.parametrize("rule", RULES)
def test_every_parameter_learns_and_a_batch_without_boxes_keeps_the_graph(rule):
    network = model(assign=rule).train()
    images, batch = torch.randn(8, 3, 64, 64), make_batch(KEY)
    sum(network.losses(images, batch)[1].values()).backward()
    named = {name: parameter.grad for name, parameter in network.named_parameters()}
    untouched = {name for name, grad in named.items() if grad is None or grad.abs().sum() == 0}
    assert {name.split(".")[0] for name in untouched} <= {"backbone"} and all("norm0" in name for name in untouched)
    empty = make_batch(KEY)
    empty.box_classes[:], empty.labels[:] = -1, float("nan")
    nothing = make_batch(KEY)
    nothing.centred_boxes, nothing.box_classes = torch.zeros(8, 0, 4), torch.zeros(8, 0, dtype=torch.int64)
    nothing.labels[:] = 0
    for given, learns in ((empty, False), (nothing, True)):
        network.zero_grad()
        losses = network.losses(images, given)[1]
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values()) and losses["giou"] == losses["iou"] == 0
        gradients = [parameter.grad for name, parameter in network.named_parameters() if name not in untouched]
        assert all(gradient is not None for gradient in gradients)
        assert (sum(gradient.abs().sum() for gradient in gradients) > 0) == learns


@pytest.mark.parametrize("rule", RULES)
def test_an_unknown_class_gives_exactly_no_gradient(rule):
    network, images, batch = model(assign=rule).train(), torch.randn(8, 3, 64, 64), make_batch(KEY)
    batch.box_classes[:] = torch.where(batch.box_classes > 0, -1, batch.box_classes)
    batch.labels[:, 0], batch.labels[:, 1] = 1, float("nan")
    sum(network.losses(images, batch)[1].values()).backward()
    known, unknown = network.head(KEY).one_stage.classifier.logits.weight.grad
    assert known.abs().sum() > 0 and (unknown == 0).all()


def test_what_is_computed_again_in_training_is_the_same():
    torch.manual_seed(5)
    stage, pyramid = OneStage(2, options(dropout=0.0)), draw_pyramid()
    kept = stage(pyramid)
    with torch.no_grad():
        plain = stage(pyramid)
    torch.testing.assert_close(kept.boxes, plain.boxes)
    torch.testing.assert_close(kept.logits, plain.logits)


def test_found_boxes_are_the_best_and_do_not_overlap_within_a_class():
    network, images = model().eval(), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        found = network.predict(images, KEY)
        outputs = network.head(KEY)(network.trunk(images, KEY), None)
    scores = outputs.logits.sigmoid() * outputs.expected.sigmoid()[..., None]
    torch.testing.assert_close(found.scores[:, 0], scores.flatten(1).amax(dim=1))
    assert (found.scores.diff(dim=1) <= 0).all()
    for image in range(3):
        counts = found.scores[image] > 0
        boxes, kinds = found.relative_boxes[image][counts], found.box_classes[image][counts]
        overlaps = iou(boxes[:, None], boxes[None]) * (kinds[:, None] == kinds[None])
        assert overlaps.fill_diagonal_(0).max() <= 0.5 and len(boxes) > 2
    order = [2, 0, 1]
    with torch.no_grad():
        again = network.predict(images[order], KEY)
    torch.testing.assert_close(again.relative_boxes, found.relative_boxes[order])


def test_it_compiles_as_one_graph():
    torch.manual_seed(6)
    stage, pyramid = OneStage(2, options()).eval(), draw_pyramid()

    def run(memory):
        return stage(Pyramid(memory, pyramid.spatial_shapes, 8)).boxes

    with torch.no_grad():
        compiled = torch.compile(run, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(pyramid.memory), run(pyramid.memory))


def test_the_pyramid_begins_at_the_second_stage():
    features = [torch.randn(2, channels, 16 >> level, 16 >> level) for level, channels in enumerate((4, 6, 8, 10))]
    trunk = PyramidTrunk((4, 6, 8, 10), 16, start=1, extra=2)
    pyramid = trunk(features)
    assert trunk.stages == 3 and pyramid.spatial_shapes == ((8, 8), (4, 4), (2, 2), (1, 1), (1, 1))
    assert pyramid.pixel().tolist() == [1 / 64, 1 / 64]
    torch.testing.assert_close(trunk(features[1:]).memory, pyramid.memory)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_it_learns_to_find_a_square(rule):
    torch.manual_seed(8)
    overlaps, is_right = learn_squares(model(assign=rule).train(), make_batch(KEY), KEY, steps=150)
    assert overlaps.mean() > 0.6
    assert is_right.sum() >= 7
