"""Heads, losses and memory of self-supervision: values at a match and at orthogonality, slow loops, what is kept."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from foundationx.core.geometry.boxes import centres, nearest, soft_target
from foundationx.tasks.self_supervision.parts.curriculum import stage_at
from foundationx.tasks.self_supervision.parts.heads import (
    Down,
    PixelHead,
    Prototypes,
    TokenDecoder,
    Up,
    group,
    mlp,
    sine_places,
)
from foundationx.tasks.self_supervision.parts.losses import (
    assignment,
    balanced_bce,
    match_loss,
    mean_where,
    order_loss,
    prototype_loss,
    queue_contrast,
    regress,
    take,
)
from foundationx.tasks.self_supervision.parts.memory import Centre, Queue


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


# ---------------------------------------------------------------- contrast


def slow_contrast(query, key, queue, valid, temperature, limit):
    total = 0.0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        positive = math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / temperature)
        negatives = 0.0
        for u, counts in zip(queue.tolist(), valid.tolist(), strict=True):
            cosine = sum(a * b for a, b in zip(q, u, strict=True))
            if counts and (limit is None or cosine < limit):
                negatives += math.exp(cosine / temperature)
        total -= math.log(positive / (positive + negatives))
    return total / len(query)


@pytest.mark.parametrize("limit", [None, 0.8, 0.2])
def test_queue_contrast_equals_a_slow_loop(limit):
    query, key, queue = unit(5, 4, seed=1), unit(5, 4, seed=2), unit(30, 4, seed=3)
    valid = torch.arange(30) % 3 > 0
    result = queue_contrast(query, key, queue, valid, 0.2, limit)
    assert float(result) == pytest.approx(slow_contrast(query, key, queue, valid, 0.2, limit), rel=1e-5)


def test_queue_contrast_at_orthogonality_and_with_nothing_left():
    everything = torch.eye(8)
    loss = queue_contrast(everything[:1], everything[1:2], everything[2:], torch.ones(6, dtype=torch.bool), 0.2, 0.8)
    assert float(loss) == pytest.approx(math.log(7))
    query = everything[:1].clone().requires_grad_()
    alike = everything[:1].expand(6, -1)
    pruned = queue_contrast(query, everything[1:2], alike, torch.ones(6, dtype=torch.bool), 0.2, 0.8)
    pruned.backward()
    assert float(pruned.detach()) == 0 and torch.equal(query.grad, torch.zeros_like(query))
    kept = queue_contrast(query, everything[1:2], alike, torch.ones(6, dtype=torch.bool), 0.2, None)
    assert float(kept) > 5  # the same anatomy of others counts as a negative


# ---------------------------------------------------------------- prototypes


def test_prototype_loss_is_the_entropy_at_a_match_and_log_k_without_knowledge():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    expected = assignment(logits, torch.zeros(3), 0.5)
    entropy = -sum(p * math.log(p) for p in expected[0].tolist())
    assert float(prototype_loss(expected, logits, 0.5)) == pytest.approx(entropy, rel=1e-5)
    assert float(prototype_loss(expected, torch.zeros(1, 3), 0.1)) == pytest.approx(math.log(3))
    by_hand = [math.exp(x / 0.5) for x in (2.0, 0.0, -1.0)]
    assert expected[0].tolist() == pytest.approx([x / sum(by_hand) for x in by_hand], rel=1e-5)
    assert not expected.requires_grad


def test_the_centre_takes_away_what_all_images_want():
    centre = Centre(3)
    logits = torch.tensor([[4.0, 1.0, 0.0], [4.0, 0.0, 1.0]])
    for _ in range(200):
        centre.follow(logits)
    torch.testing.assert_close(centre.mean, logits.mean(dim=0))
    expected = assignment(logits, centre.mean, 0.1)
    assert expected.argmax(dim=1).tolist() == [1, 2]
    once = Centre(3)
    once.follow(logits)
    torch.testing.assert_close(once.mean, 0.1 * logits.mean(dim=0))


def test_the_layers_below_prototypes_begin_as_those_of_dino():
    torch.manual_seed(0)
    head = Prototypes(features=192, hidden=256, bottleneck=64, count=32)

    assert not head.mlp(torch.zeros(192)).any()  # nothing is added that no image shows
    layers = [layer for layer in head.mlp if isinstance(layer, torch.nn.Linear)]
    assert [round(layer.weight.std().item(), 3) for layer in layers] == [0.02] * 3


def test_prototypes_are_cosines_and_hold_still_when_asked():
    head = Prototypes(6, 8, 4, 10)
    feature = torch.randn(3, 6)
    logits = head(feature)
    assert logits.shape == (3, 10) and logits.abs().max() <= 1 + 1e-5
    expected = F.cosine_similarity(head.mlp(feature)[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(logits, expected)
    head(feature, still=True).sum().backward()
    assert head.weight.grad is None and head.mlp[0].weight.grad.abs().sum() > 0


# ---------------------------------------------------------------- regression


@pytest.mark.parametrize(
    ("measure", "scaling", "match", "orthogonal"),
    [
        ("cosine", "none", 0.0, 1.0),
        ("mse", "unit", 0.0, 2 / 4),  # 2 (1 - cosine) / D: the scale that makes released composition weightless
        ("mse", "none", 0.0, (9 + 25) / 4),
        ("smooth_l1", "none", 0.0, (2.5 + 4.5) / 4),
    ],
)
def test_regress_at_a_match_and_at_orthogonality(measure, scaling, match, orthogonal):
    one, other = torch.tensor([[3.0, 0, 0, 0]]), torch.tensor([[0.0, 5, 0, 0]])
    assert float(regress(one, one, measure, scaling)) == pytest.approx(match, abs=1e-6)
    assert float(regress(one, other, measure, scaling)) == pytest.approx(orthogonal)


def test_one_norm_over_all_parts_has_a_floor_and_one_a_part_has_none():
    """``docs/methods/self_supervision.md``, "2.5 Weight of composition": normalised over P parts together, a perfect
    guess still costs (1 - 1/sqrt(P))^2 / D."""
    targets = unit(1, 4, 16)
    together = F.normalize(targets.flatten(1), dim=1).view(1, 4, 16)
    assert float(regress(together, targets, "mse")) == pytest.approx(0.25 / 16)
    assert float(regress(together, targets, "cosine")) == pytest.approx(0, abs=1e-6)


def test_regress_scales_the_target_and_counts_only_what_it_should():
    prediction, target = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8, requires_grad=True)
    where = torch.tensor([[True, False, True], [False, False, True]])
    result = regress(prediction, target * 7 + 3, "mse", "layer", where)
    rows = []
    for b, n in where.nonzero().tolist():
        row = target[b, n]
        expected = (row - row.mean()) / (row.var(unbiased=False) + 1e-5 / 49).sqrt()
        rows.append(((prediction[b, n] - expected) ** 2).mean())
    assert float(result) == pytest.approx(float(torch.stack(rows).mean()), rel=1e-4)
    result.backward()
    assert target.grad is None and torch.equal(prediction.grad.abs().sum(dim=2) > 0, where)
    nothing = regress(prediction, target, "cosine", "none", torch.zeros(2, 3, dtype=torch.bool))
    nothing.backward()
    assert float(nothing) == 0


# ---------------------------------------------------------------- matches of places


def test_balanced_bce_equals_a_slow_loop():
    logits, target = torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    total = 0.0
    for x, m in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        total += (0.9 * m + 0.1 * (1 - m)) * -(m * math.log(p) + (1 - m) * math.log(1 - p))
    assert float(balanced_bce(logits, target, 0.9)) == pytest.approx(total / 24, rel=1e-5)


def test_the_balance_is_that_published_for_the_published_grids():
    """Dividing 0.99 and composing 0.9 are 1 - the mean target of a row, 6.17 / 784 and 4.90 / 49."""
    narrow = torch.tensor([[8.0, 8, 22, 22]])
    target = soft_target(narrow, (14, 14), torch.tensor([[0.0, 0, 28, 28]]), (28, 28), 1.0, 2)
    logits = torch.randn(1, 196, 784)
    published = float(balanced_bce(logits, target, 1 - 6.1689 / 784))
    assert float(match_loss(logits, target)) == pytest.approx(published, rel=1e-3)


def test_swapped_axes_raise_the_loss_of_a_perfect_encoder():
    """Tokens that say exactly where they are match at the true target better than at one with axes swapped."""
    wide, narrow = torch.tensor([[2.0, 0, 30, 28]]), torch.tensor([[4.0, 14, 18, 28]])

    def say_where(boxes, grid):
        positions = centres(boxes, grid) * torch.tensor([0.21, 0.21])
        waves = torch.cat([f(positions * k) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=2)
        return F.normalize(waves, dim=2)

    cosines = say_where(narrow, (14, 14)) @ say_where(wide, (28, 28)).transpose(1, 2)
    true = soft_target(narrow, (14, 14), wide, (28, 28), 1.0, 2)
    swapped = soft_target(narrow[:, [1, 0, 3, 2]], (14, 14), wide[:, [1, 0, 3, 2]], (28, 28), 1.0, 2)
    right, wrong = (float(match_loss((cosines - 0.9) * 30, target)) for target in (true, swapped))
    assert right < 0.5 * wrong


# ---------------------------------------------------------------- order


def test_order_loss_at_a_match_and_without_knowledge():
    order = torch.stack([torch.randperm(9), torch.arange(9)])
    assert float(order_loss(torch.zeros(2, 9, 9), order)) == pytest.approx(math.log(9))
    assert float(order_loss(50 * F.one_hot(order, 9).float(), order)) == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 2**31), st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_permuted_targets_have_distinct_rows(seed, count):
    """Each sample by its own order.

    See ``docs/methods/self_supervision.md``, "5.3 Order and coherence": indexed wrongly, all targets of a sample are
    one token.
    """
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randn(3, count, 5, generator=random)
    orders = torch.stack([torch.randperm(count, generator=random) for _ in range(3)])
    targets = take(tokens, orders)
    for sample in range(3):
        assert len({tuple(row) for row in targets[sample].tolist()}) == count
        for position in range(count):
            assert torch.equal(targets[sample, position], tokens[sample, orders[sample, position]])


def test_mean_where_and_its_empty_case():
    tokens = torch.arange(12.0).view(2, 3, 2)
    result = mean_where(tokens, torch.tensor([[True, False, True], [False] * 3]))
    assert result.tolist() == [[2.0, 3.0], [0.0, 0.0]]


# ---------------------------------------------------------------- heads


def test_mlp_has_the_published_layers():
    layers = mlp([4, 8, 8, 2], norm=True, last_bias=False)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "LayerNorm", "ReLU"] * 2 + ["Linear"]
    assert [layer.bias is None for layer in layers if hasattr(layer, "in_features")] == [True] * 3
    plain = mlp([4, 8, 2])
    assert [type(layer).__name__ for layer in plain] == ["Linear", "ReLU", "Linear"] and plain[0].bias is not None


def test_fine_and_coarse_tokens_stand_where_they_belong():
    """Every output is traced to the only token it may depend on, over a grid that is not square."""
    rows, columns, width = 2, 4, 3
    up, down = Up(width), Down(width)
    tokens = torch.randn(1, rows * columns, width, requires_grad=True)
    fine = up(tokens, (rows, columns))[0]
    for position in range(4 * rows * columns):
        y, x = divmod(position, 2 * columns)
        gradient = torch.autograd.grad(fine[position].square().sum(), tokens, retain_graph=True)[0][0].abs().sum(dim=1)
        assert gradient.nonzero().flatten().tolist() == [y // 2 * columns + x // 2]
    tokens = torch.randn(1, rows * columns, width)
    assert torch.equal(group(tokens, (rows, columns))[0, 1], tokens[0, [2, 3, 6, 7]].flatten())
    assert down(tokens, (rows, columns)).shape == (1, 2, width)


def test_pixels_of_a_token_fill_its_own_block():
    head = PixelHead(5)
    tokens = torch.zeros(1, 6, 5)
    tokens[0, 4] = 1  # second row, second column of 2 x 3
    pixels = head(tokens, (2, 3)) - head(torch.zeros(1, 6, 5), (2, 3))
    assert pixels.shape == (1, 1, 64, 96)
    assert pixels[0, 0, 32:, 32:64].abs().min() >= 0 and pixels[0, 0, 32:, 32:64].abs().sum() > 0
    pixels[0, 0, 32:, 32:64] = 0
    assert not pixels.any()


def test_the_decoder_starts_from_the_window_and_reaches_everywhere():
    decoder = TokenDecoder(8, 4, 1)
    crop, window = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[1.0, 0, 3, 2]])
    index, seen = nearest(crop, (4, 4), window, (2, 2))
    tokens = torch.randn(1, 4, 8, requires_grad=True)
    prediction = decoder(tokens, index, seen)
    assert prediction.shape == (1, 16, 8) and seen[0].nonzero().flatten().tolist() == [4, 5, 8, 9]
    torch.autograd.grad(prediction[0, 15].square().sum(), [tokens, decoder.unseen], retain_graph=True)
    gradient = torch.autograd.grad(prediction[0, 15].square().sum(), tokens)[0]
    assert (gradient.abs().sum(dim=2) > 0).all()


def test_positions_are_distinct_and_separate_rows_from_columns():
    positions = sine_places(8, 5)
    assert positions.shape == (25, 8) and len({tuple(row) for row in positions.tolist()}) == 25
    assert torch.equal(positions[1 * 5 + 3, :4], positions[1 * 5 + 0, :4])  # one row
    assert torch.equal(positions[1 * 5 + 3, 4:], positions[4 * 5 + 3, 4:])  # one column


# ---------------------------------------------------------------- memory


def test_the_queue_is_first_in_first_out_round_its_end():
    queue = Queue(5, 2, prefilled=False)
    assert not queue.valid.any()
    rows = torch.arange(16.0).view(8, 2)
    for start in (0, 2, 4):
        queue.push(rows[start : start + 2])
    assert sorted(queue.keys[:, 0].tolist()) == [2.0, 4.0, 6.0, 8.0, 10.0] and queue.valid.all()
    queue.push(rows)  # more than it holds: the last ones stay
    assert sorted(queue.keys[:, 0].tolist()) == [6.0, 8.0, 10.0, 12.0, 14.0]


def test_the_queue_is_emptied_when_the_stage_changes_and_is_part_of_the_state():
    queue = Queue(4, 2, prefilled=False)
    queue.push(torch.ones(3, 2))
    queue.enter(0)
    assert int(queue.filled) == 3
    copy = Queue(4, 2, prefilled=False)
    copy.load_state_dict(queue.state_dict())
    for one in (queue, copy):
        one.push(torch.full((2, 2), 2.0))
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), copy.buffers(), strict=True))
    queue.enter(1)
    assert not queue.valid.any() and int(queue.stage) == 1
    assert Queue(4, 2, prefilled=True).valid.all()


def test_stages_follow_their_lengths():
    lengths = [200, 200, 100]
    assert [stage_at(lengths, done) for done in (0, 0.39, 0.4, 0.79, 0.8, 0.99, 1.0)] == [0, 0, 1, 1, 2, 2, 2]
    assert [stage_at([1, 1, 1], n / 6) for n in range(6)] == [0, 0, 1, 1, 2, 2]


def _remember(rank, count, folder):
    """One rank of ``count``: its share of the rows goes into a queue and a centre."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    torch.manual_seed(0)
    queue, centre = Queue(8, 3, prefilled=False), Centre(3)
    everyone = torch.arange(15.0).view(5, 3)
    rows = everyone[3:] if rank else everyone[:3]
    queue.push(rows)
    centre.follow(rows)
    torch.save((queue.state_dict(), centre.state_dict()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_remember_what_all_of_them_saw(tmp_path):
    torch.multiprocessing.spawn(_remember, (2, str(tmp_path)), nprocs=2)
    torch.manual_seed(0)
    queue, centre = Queue(8, 3, prefilled=False), Centre(3)
    queue.push(torch.arange(15.0).view(5, 3))
    centre.follow(torch.arange(15.0).view(5, 3))
    for rank in range(2):
        states = torch.load(tmp_path / f"{rank}.pt")
        for result, expected in zip(states, (queue.state_dict(), centre.state_dict()), strict=True):
            for name, value in expected.items():
                torch.testing.assert_close(result[name], value)
