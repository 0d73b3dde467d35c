"""Denoising queries: how far boxes and labels move, what each group may see, what is learned from padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.denoising import make_denoising
from foundationx.tasks.detection.matching import Targets
from tests.helpers.detection_samples import build, draw_batch, draw_features
from tests.helpers.host_traffic import Dispatched, HostTraffic

CLASSES, QUERIES = 4, 7


def draw_targets(counts, side=0.2):
    """Boxes far enough from the rim that noise is not cut off."""
    most = max(counts)
    real = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    boxes = torch.cat([torch.rand(*real.shape, 2) * 0.4 + 0.3, torch.rand(*real.shape, 2) * side + 0.01], dim=-1)
    labels = torch.randint(CLASSES, real.shape).masked_fill(~real, -1)
    return Targets(boxes * real[..., None], labels, torch.ones(len(counts), CLASSES, dtype=torch.bool))


def make(targets, number=12, label_noise=0.0, box_noise=1.0):
    return make_denoising(targets, nn.Embedding(CLASSES, 5), number, label_noise, box_noise, QUERIES)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(any),
    noise=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_corners_move_up_to_half_a_side_or_from_there_to_a_full_one(counts, noise, seed):
    torch.manual_seed(seed)
    targets = draw_targets(counts)
    denoising = make(targets, box_noise=noise)
    most = max(counts)
    groups = 12 // most
    real = targets.classes >= 0
    moved = to_corners(denoising.boxes).view(len(counts), groups, 2, most, 4)
    sides = targets.boxes[..., 2:].repeat(1, 1, 2)[:, None, None].clamp(min=1e-6)
    shares = (moved - to_corners(targets.boxes)[:, None, None]).abs() / sides
    near, far = (shares[:, :, kind].transpose(1, 2)[real] for kind in (0, 1))
    assert (near <= noise / 2 + 1e-4).all()
    assert (far >= noise / 2 - 1e-4).all() and (far <= noise + 1e-4).all()


def test_matched_queries_are_the_near_ones_of_every_group():
    targets = draw_targets((2, 3))
    denoising = make(targets, number=6)  # two groups of 3 near and 3 far queries
    assert denoising.matched.tolist() == [[[0, 1, -1, 6, 7, -1], [0, 1, 2, 6, 7, 8]]]
    assert torch.equal(denoising.repeated.boxes[:, 3:], targets.boxes)
    assert denoising.boxes.shape == (2, 12, 4) and denoising.mask.shape == (12 + QUERIES, 12 + QUERIES)


def test_without_noise_boxes_and_labels_are_the_truth():
    targets = draw_targets((3, 2))
    data_module = nn.Embedding(CLASSES, 5)
    denoising = make_denoising(targets, data_module, 3, 0.0, 0.0, QUERIES)
    torch.testing.assert_close(denoising.boxes[0, :3], targets.boxes[0])
    torch.testing.assert_close(denoising.content[0, :3], data_module(targets.classes[0]))
    assert not denoising.content[1, [2, 5]].any(), "padding has no content"


def test_a_quarter_of_the_labels_is_redrawn_at_the_published_noise():
    torch.manual_seed(0)
    targets = Targets(torch.full((50, 40, 4), 0.3), torch.zeros(50, 40, dtype=torch.int64), torch.ones(50, 1000).bool())
    data_module = nn.Embedding.from_pretrained(torch.arange(1000.0)[:, None])
    denoising = make_denoising(targets, data_module, 40, 0.5, 1.0, QUERIES)
    assert (denoising.content != 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("counts", "number"), [((0, 0), 12), ((2, 1), 0)])
def test_nothing_to_denoise(counts, number):
    assert make(draw_targets(counts), number=number) is None


def test_more_targets_than_denoising_queries_make_one_group():
    assert make(draw_targets((5,)), number=3).boxes.shape == (1, 10, 4)


def test_matching_queries_learn_nothing_of_the_truth():
    trunk, head = build()
    head.train()
    memory = trunk(draw_features())
    batch = draw_batch((2, 2))
    batch.centred_boxes.requires_grad_()
    outputs = head(memory, trunk, batch)
    (gradient,) = torch.autograd.grad(
        outputs.boxes.sum() + outputs.logits.sum(), batch.centred_boxes, retain_graph=True, allow_unused=True
    )
    assert gradient is None or not gradient.any()
    (gradient,) = torch.autograd.grad(outputs.denoised[0].sum(), batch.centred_boxes)
    assert gradient.any(), "the denoising queries do depend on it"


def test_groups_do_not_see_each_other():
    groups, size = 3, 2 * 2
    denoising = make(draw_targets((2, 1)), number=6)
    total = groups * size + QUERIES
    for row in range(total):
        for column in range(total):
            same_group = row // size == column // size and row < groups * size
            expected = column >= groups * size or same_group
            assert denoising.mask[row, column].item() == (not expected)


def test_a_complete_step_copies_to_the_host_once():
    trunk, head = build()
    trunk.train(), head.train()
    seen = []
    for counts in ((2, 1), (3, 0, 1, 2, 3, 1)):
        features, batch = draw_features(len(counts)), draw_batch(counts)
        with HostTraffic() as traffic, Dispatched() as operations:
            losses = head.loss(head(trunk(features), trunk, batch), batch)
            torch.stack(list(losses.values())).sum().backward()
        assert traffic.calls == {"cpu": 1, "numpy": 1, "to device": 1}
        assert not {"_local_scalar_dense", "nonzero", "_unique2"} & set(operations.calls)
        assert operations.calls["lift_fresh"] == 1
        seen.append(operations.calls.total())
    assert seen[0] == seen[1]
