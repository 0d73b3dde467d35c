"""Trunk and head in both ways of sharing: what is trained, predicted, unknown; low precision; drawn rectangles."""

import pytest
import torch
from torch import nn

from foundationx.core.errors import ConfigError
from foundationx.tasks.detection.boxes import generalised_iou, to_corners
from foundationx.tasks.detection.head import DetectionHead
from foundationx.tasks.detection.trunk import DetectionTrunk
from tests.helpers.detection_samples import (
    CHANNELS,
    CLASSES,
    SMALL,
    build,
    detection_config,
    draw_batch,
    draw_features,
    small,
    step,
)

SHARINGS = ("decoder", "queries")


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_parameter_is_trained_and_the_decoder_is_where_it_belongs(sharing):
    trunk, head = build(small(sharing=sharing))
    assert hasattr(trunk, "decoder") == (sharing == "queries") and hasattr(head, "decoder") == (sharing == "decoder")
    losses = step(trunk, head, draw_features(), draw_batch())
    assert set(losses) == {"class", "box", "giou", "proposals", "denoising"}
    sum(losses.values()).backward()
    parameters = [*trunk.named_parameters(), *head.named_parameters()]
    assert not [name for name, parameter in parameters if parameter.grad is None or not parameter.grad.any()]


def test_without_boxes_the_step_is_finite_and_boxes_are_not_pushed():
    trunk, head = build()
    losses = step(trunk, head, draw_features(), draw_batch((0, 0)))
    assert "denoising" not in losses and losses["box"] == 0 and losses["giou"] == 0 and losses["class"] > 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in trunk.parameters())
    assert not head.proposal_box[-1].weight.grad.any()


def test_a_class_unknown_in_all_images_leaves_its_outputs_untrained():
    trunk, head = build()
    batch = draw_batch()
    batch.box_classes[batch.box_classes == 1] = 0
    batch.labels[:, 1] = torch.nan
    losses = step(trunk, head, draw_features(), batch)
    sum(losses.values()).backward()
    for layer in (head.class_head, head.proposal_class):
        assert torch.equal(layer.weight.grad[1], torch.zeros_like(layer.weight[1])) and layer.bias.grad[1] == 0
        assert layer.weight.grad[0].any() and layer.weight.grad[2].any()


def test_proposals_have_the_configured_weight():
    values = [
        step(*build(small(proposal_loss_weight=weight)), [f * 0 + 1 for f in draw_features()], batch)["proposals"]
        for batch in [draw_batch()]
        for weight in (1.0, 0.5, 0.0)
    ]
    assert values[1].item() == pytest.approx(values[0].item() / 2) and values[2] == 0


def test_queries_are_at_most_the_tokens():
    trunk, head = build(small(queries=500))
    features = draw_features()
    tokens = 64 + 16 + 4 + 1
    prediction = head.eval().predict(head(trunk.eval()(features), trunk), (64, 64))
    assert head(trunk(features), trunk).logits.shape == (4, 2, tokens, CLASSES)
    assert prediction.relative_boxes.shape == (2, 100, 4)


def test_prediction_is_best_first_and_within_the_image():
    trunk, head = build()
    outputs = head.eval()(trunk.eval()(draw_features()), trunk)
    prediction = head.predict(outputs, (64, 64))
    assert (prediction.scores.diff(dim=1) <= 0).all()
    assert prediction.relative_boxes.min() >= 0 and prediction.relative_boxes.max() <= 1
    # The best entry by a slow search.
    for image in range(2):
        scores = outputs.logits[-1, image].sigmoid()
        query, kind = divmod(int(scores.argmax()), CLASSES)
        assert prediction.box_classes[image, 0] == kind and prediction.scores[image, 0] == scores.max()
        torch.testing.assert_close(
            prediction.relative_boxes[image, 0], to_corners(outputs.boxes[-1, image, query]).clamp(0, 1)
        )


def test_the_start_predicts_one_percent_and_the_proposals_own_boxes():
    torch.manual_seed(0)
    trunk, head = DetectionTrunk(CHANNELS, SMALL).eval(), DetectionHead(CLASSES, SMALL).eval()
    for layer in (head.class_head, head.proposal_class):
        assert layer.bias.sigmoid().tolist() == pytest.approx([0.01] * CLASSES)
    outputs = head(trunk(draw_features()), trunk)
    torch.testing.assert_close(outputs.boxes, outputs.boxes[:1].expand_as(outputs.boxes))
    assert set(outputs.boxes[..., 2].mul(100).round().unique().tolist()) <= {5, 10, 20, 40}


@pytest.mark.parametrize("sharing", SHARINGS)
def test_bfloat16_is_near_single_precision(sharing):
    trunk, head = build(small(sharing=sharing))
    features, batch = draw_features(), draw_batch()
    expected = step(trunk, head, features, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = step(trunk, head, features, batch)
    for name, value in result.items():
        assert value.dtype == torch.float32
        # Rounding matches single queries otherwise; denoising queries are not matched.
        near = 0.01 if name == "denoising" else 0.2
        assert value.item() == pytest.approx(expected[name].item(), rel=near), name
    sum(result.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in trunk.parameters())


def test_purely_half_model_runs():
    trunk, head = (module.bfloat16() for module in build())
    losses = step(trunk, head, [feature.bfloat16() for feature in draw_features()], draw_batch())
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"embed_dim": 64}, "did you mean 'embed_dims'?"),
        ({"sharing": "query"}, "'decoder' or 'queries'"),
        ({"embed_dims": 30}, "num_heads and 4 have to divide it"),
        ({"levels": 2}, "greater than or equal to 3"),
    ],
)
def test_a_wrong_configuration_is_named(values, said):
    with pytest.raises(ConfigError) as caught:
        detection_config(values)
    assert said in str(caught.value)


def rectangles(count, side=64):
    """Images of one or two rectangles, class 0 bright and class 1 striped, with their boxes."""
    batch = draw_batch([1 + number % 2 for number in range(count)], classes=2)
    pixels = torch.randn(count, 1, side, side) * 0.05
    for image in range(count):
        for box, kind in zip(to_corners(batch.centred_boxes[image]), batch.box_classes[image], strict=True):
            if kind >= 0:
                x1, y1, x2, y2 = (box * side).round().int().tolist()
                pixels[image, 0, y1:y2, x1:x2] = 1
                if kind == 1:
                    pixels[image, 0, y1:y2, x1:x2:2] = -1
    return pixels, batch


@pytest.mark.slow
@pytest.mark.parametrize("sharing", SHARINGS)
def test_learns_drawn_rectangles_by_heart(sharing):
    torch.manual_seed(0)
    config = small(embed_dims=32, sharing=sharing, encoder_layers=1, decoder_layers=2, denoising=12)
    trunk, head = DetectionTrunk(CHANNELS, config), DetectionHead(2, config)
    stages = nn.ModuleList(
        nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.ReLU())
        for before, after in zip((1, *CHANNELS), CHANNELS, strict=False)
    )
    pixels, batch = rectangles(8)

    def features():
        maps = [pixels]
        for stage in stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    model = nn.ModuleList([stages, trunk, head])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(400):
        loss = sum(head.loss(head(trunk(features()), trunk, batch), batch).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    prediction = head.predict(head(trunk(features()), trunk), (64, 64))
    best = 0
    for image in range(len(batch)):
        real = batch.box_classes[image] >= 0
        number = int(real.sum())
        overlap = generalised_iou(
            to_corners(batch.centred_boxes[image, real])[:, None], prediction.relative_boxes[image, None, :number]
        )
        same = batch.box_classes[image, real][:, None] == prediction.box_classes[image, None, :number]
        best += int(((overlap > 0.5) & same).any(1).sum())
    assert best >= 0.9 * int((batch.box_classes >= 0).sum()), "the best boxes of an image are its rectangles"
