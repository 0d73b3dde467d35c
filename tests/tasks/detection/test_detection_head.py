"""The head from batch to losses and predictions: cost in operations and waits, where the decoder is, refusals."""

from types import SimpleNamespace

import pytest
import torch
from pycocotools import mask as rle

from foundationx.core.config.model import ModelConfig
from foundationx.core.errors import ConfigError
from foundationx.tasks.detection.draw import describe
from foundationx.tasks.detection.head import DetectionHead, DetectionOutputs, _anchors
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.record import record_prediction
from foundationx.tasks.detection.trunk import Memory
from tests.helpers.detection_samples import CLASSES, SMALL, build, detection_config, draw_batch, draw_features, small
from tests.helpers.host_traffic import Dispatched, HostTraffic

WAITS = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "nonzero", "unique")


@pytest.mark.parametrize("backward", [False, True])
def test_the_loss_costs_the_same_few_operations_and_waits_at_any_batch(backward):
    trunk, head = build(small(decoder_layers=6))
    trunk.train(), head.train()
    seen = []
    for batch_size in (2, 24):
        batch = draw_batch([1 + number % 3 for number in range(batch_size - 1)] + [3])
        outputs = head(trunk(draw_features(batch_size)), trunk, batch)
        with HostTraffic() as traffic, Dispatched() as operations:
            loss = sum(head.loss(outputs, batch).values())
            if backward:
                torch.autograd.grad(loss, (outputs.logits, outputs.boxes, *outputs.denoised))
        assert sum(traffic.calls[name] for name in WAITS) == 1, "all costs of all layers and images travel together"
        assert not {"_local_scalar_dense", "nonzero", "_unique2"} & set(operations.calls)
        seen.append(operations.calls)
    assert seen[0] == seen[1] and seen[0].total() <= 3000


def test_the_counter_of_waits_counts():
    values = torch.arange(3.0)
    with HostTraffic() as traffic, Dispatched() as operations:
        assert values.sum() > 2 and values[1].item() == 1 and values.cpu() is values
        values.nonzero()
    assert [traffic.calls[name] for name in ("__bool__", "item", "cpu", "nonzero")] == [1, 1, 1, 1]
    assert operations.calls["_local_scalar_dense"] == 2 and operations.calls["nonzero"] == 1


def outputs_of(logits, boxes):
    return DetectionOutputs(torch.as_tensor(logits)[None, None], torch.as_tensor(boxes)[None, None])


def test_prediction_by_hand():
    head = DetectionHead(2, SMALL)
    outputs = outputs_of(
        [[-1.0, 2.0], [3.0, -4.0], [0.0, 1.0]],
        [[0.5, 0.5, 0.2, 0.4], [0.1, 0.9, 0.4, 0.4], [0.5, 0.5, 0.1, 0.1]],
    )
    result = head.predict(outputs, (8, 8))
    assert result.box_classes.tolist() == [[0, 1, 1, 0, 0, 1]]
    expected = torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0, -4.0]).sigmoid()
    torch.testing.assert_close(result.scores[0], expected)
    torch.testing.assert_close(result.relative_boxes[0, :2], torch.tensor([[0.0, 0.7, 0.3, 1.0], [0.4, 0.3, 0.6, 0.7]]))
    torch.testing.assert_close(result.relative_boxes[0, 3], result.relative_boxes[0, 2])


def crowd():
    """Three images of 40 queries in two places, 24 x 20 % of the image, as a head has them that finds things twice."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.3, 0.5], [0.7, 0.5]])[torch.randint(2, (3, 40), generator=generator)]
    noise = 0.02 * torch.randn(3, 40, 4, generator=generator)
    boxes = torch.cat([centres, torch.tensor([0.24, 0.2]).expand(3, 40, 2)], dim=2) + noise
    return DetectionOutputs(torch.randn(1, 3, 40, 3, generator=generator), boxes[None])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_leaves_of_each_class_what_no_better_box_overlaps(threshold):
    outputs = crowd()
    plain = DetectionHead(3, SMALL).predict(outputs, (8, 8))
    suppressing = DetectionHead(3, SMALL.model_copy(update={"suppression": threshold}))
    suppressing.top = 120
    result = suppressing.predict(outputs, (8, 8))
    pool = DetectionHead(3, SMALL)
    pool.top = 120
    everything = pool.predict(outputs, (8, 8))
    for image in range(3):
        boxes, classes = everything.relative_boxes[image], everything.box_classes[image]
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).double().numpy()
        overlaps = rle.iou(xywh, xywh, [False] * len(xywh))
        chosen = []
        for index in range(len(boxes)):
            if not any(classes[index] == classes[o] and overlaps[index, o] > threshold for o in chosen):
                chosen.append(index)
        assert 6 <= len(chosen) < len(boxes)
        assert torch.equal(result.relative_boxes[image, : len(chosen)], boxes[chosen])
        assert torch.equal(result.scores[image, : len(chosen)], everything.scores[image, chosen])
        assert torch.equal(result.box_classes[image, : len(chosen)], classes[chosen])
        assert not result.scores[image, len(chosen) :].any(), "what is suppressed follows with a score of 0"
    assert plain.scores.shape == (3, 100) and plain.scores.min() > 0, "by default nothing is suppressed"


def test_suppressed_boxes_are_neither_recorded_nor_described():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.9]]]).expand(2, 3, 4)
    scores = torch.tensor([[0.9, 0.5, 0.0], [0.8, 0.0, 0.0]])
    prediction = DetectionPrediction(boxes, scores, torch.tensor([[0, 1, 0], [1, 0, 1]]))
    meta = SimpleNamespace(height=100, width=200)
    recorded = record_prediction(prediction, SimpleNamespace(metas=(meta, meta)))
    assert recorded["boxes"].image(0).tolist() == [[0, 0, 100, 100], [100, 0, 200, 100]]
    for index, (classes, own) in enumerate([([0, 1], [0.9, 0.5]), ([1], [0.8])]):
        assert recorded["box_classes"].image(index).tolist() == classes
        assert recorded["scores"].image(index).tolist() == pytest.approx(own)
    rows = describe(prediction, ("a", "b"), (100, 200), {"a": 0.0, "b": 0.0}, SimpleNamespace(box=lambda *_: None))
    assert [(row["class"], row["score"]) for row in rows] == [("a", 0.9), ("b", 0.5)]


def test_a_shared_decoder_is_the_one_that_is_used():
    trunk, head = build(small(sharing="queries"))
    other = DetectionHead(5, trunk.config)
    assert not [name for name, _ in head.named_parameters() if name.startswith("decoder.")]
    memory = trunk.eval()(draw_features())
    before = head.eval()(memory, trunk).logits, other.eval()(memory, trunk).logits
    assert before[1].shape == (*before[0].shape[:3], 5)
    with torch.no_grad():
        trunk.decoder.layers[0].ffn.layers[1].bias.add_(torch.randn(SMALL.embed_dims))
    after = head(memory, trunk).logits, other(memory, trunk).logits
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[0], new[0]) and not torch.allclose(old[1], new[1])


@pytest.mark.parametrize("sharing", ["decoder", "queries"])
def test_model_configuration_reaches_trunk_and_head(sharing):
    values = {name: getattr(SMALL, name) for name in ("embed_dims", "num_heads", "ffn_dims", "queries")}
    config = ModelConfig(backbone={"type": "mmdet.ResNet"}, detection=values | {"sharing": sharing, "levels": 5})
    trunk = DetectionHead.build_trunk((8, 16), config)
    head = DetectionHead.build(trunk, CLASSES, config, DetectionHead.Options())
    memory = trunk.eval()([torch.randn(1, 8, 32, 32), torch.randn(1, 16, 16, 16)])
    assert memory.spatial_shapes == ((32, 32), (16, 16), (8, 8), (4, 4), (2, 2)), "more levels than stages: strided"
    outputs = head.eval()(memory, trunk)
    assert outputs.logits.shape == (7, 1, SMALL.queries, CLASSES) and outputs.denoising is None


def test_evaluation_asks_nothing_of_the_truth():
    trunk, head = build()
    memory = trunk.eval()(draw_features())
    batch = draw_batch()
    with_truth, without = head.eval()(memory, trunk, batch), head(memory, trunk)
    assert with_truth.denoising is None and torch.equal(with_truth.logits, without.logits)


def test_more_boxes_than_queries_still_make_a_step():
    trunk, head = build(small(queries=3))
    trunk.train(), head.train()
    batch = draw_batch((9, 1))
    losses = head.loss(head(trunk(draw_features()), trunk, batch), batch)
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queries", 0),
        ("queries", "many"),
        ("queries", True),
        ("embed_dims", "256"),
        ("num_heads", 0),
        ("points", 1.5),
        ("decoder_layers", 0),
        ("temperature", -20),
        ("denoising", -1),
        ("box_noise", float("nan")),
        ("label_noise", None),
        ("proposal_loss_weight", float("inf")),
    ],
)
def test_a_number_that_makes_no_sense_is_named(name, value):
    with pytest.raises(ConfigError) as caught:
        detection_config({name: value})
    assert f"model.detection.{name}" in str(caught.value) and repr(value) in str(caught.value)


def test_least_values_are_accepted():
    values = {"denoising": 0, "box_noise": 0, "label_noise": 0.0, "proposal_loss_weight": 2}
    assert detection_config(values | {"queries": 1, "sharing": "queries"}).queries == 1


def test_tokens_at_the_rim_propose_nothing():
    """By hand: of 60 tokens in a row, the first has its centre at 0.5 / 60 = 0.008, the last at 0.992; 0.01..0.99 pass.

    A box of side 0.05 * 2^5 = 1.6 on the sixth level is larger than the image, so its token proposes nothing either.
    """
    shapes = ((1, 60), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1))
    memory = Memory(torch.randn(2, 65, SMALL.embed_dims), shapes)
    anchors, valid = _anchors(memory)
    centres = torch.tensor([(i + 0.5) / 60 for i in range(60)])
    torch.testing.assert_close(anchors[0, :60, 0], centres)
    torch.testing.assert_close(anchors[1, :, 2], torch.tensor([0.05] * 60 + [0.1, 0.2, 0.4, 0.8, 1.6]))
    inner = [False, *[True] * 58, False]
    assert valid.tolist() == [[*inner, True, True, True, True, False]] * 2
    assert [0.01 < centre < 0.99 for centre in centres.tolist()] == inner


def test_the_rim_is_not_proposed_even_if_it_scores_best():
    """Each token's score is its distance from the middle, so that the rim's is the highest; 58 tokens are inside it."""
    head = DetectionHead(1, small(queries=58))
    memory = Memory(torch.randn(1, 60, SMALL.embed_dims), ((1, 60),))
    centres = torch.tensor([(i + 0.5) / 60 for i in range(60)])
    head.proposal_class.forward = lambda features: (centres - 0.5).abs()[None, :, None]
    _, boxes, _ = head._propose(memory)
    torch.testing.assert_close(boxes[0, :, 0].sort().values, centres[1:-1])  # the box head begins at zero
