"""Relations of places on encoders whose answer is known: an affine one is exact, a constant one is at chance."""

import numpy as np
import pytest
import torch

from foundationx.evaluation.anatomy.measures import distances, grid_of, matches
from foundationx.evaluation.anatomy.space import (
    APART,
    KINDS,
    MARGIN,
    draw_relations,
    paired_cosines,
    probe_hits,
    silhouettes,
    symmetry,
)

AFFINE = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.3, 1.0, 0.0, 2.0]], dtype=torch.float64)


def affine(places):
    """Features (..., 4) of places (..., 2): linear, with an offset."""
    return torch.from_numpy(np.asarray(places, dtype=np.float64)) @ AFFINE + torch.tensor([3.0, 1.0, -4.0, 2.0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_affine_encoder_is_predicted_exactly(kind):
    drawn = draw_relations(kind, 50, 100, np.random.default_rng(0))
    cosines = paired_cosines(drawn.predicted(affine(drawn.known)), affine(drawn.targets))
    assert cosines.numpy() == pytest.approx(np.ones(50), abs=1e-12)
    bent = paired_cosines(drawn.predicted(affine(drawn.known) ** 2), affine(drawn.targets) ** 2)
    assert bent.mean() < 0.999, "an encoder that is not affine is not predicted exactly"


@pytest.mark.parametrize("kind", KINDS)
def test_positions_lie_inside_and_apart(kind):
    drawn = draw_relations(kind, 200, 100, np.random.default_rng(1))
    assert drawn.weights.sum(axis=1) == pytest.approx(np.ones(200))
    for positions in (drawn.known.reshape(-1, 2), drawn.targets):
        assert positions.min() >= 100 * MARGIN and positions.max() <= 100 * (1 - MARGIN)
    assert np.linalg.norm(drawn.known[:, 0] - drawn.known[:, 1], axis=1).min() >= 100 * APART


def test_extrapolation_goes_beyond_the_second_position():
    """(1 + r)B - rA by hand: on from B, away from A."""
    drawn = draw_relations("extrapolation", 40, 100, np.random.default_rng(2))
    first, second, share = drawn.known[:, 0], drawn.known[:, 1], -drawn.weights[:, :1]
    assert (share > 0).all()
    assert drawn.targets == pytest.approx((1 + share) * second - share * first)
    beyond = np.linalg.norm(drawn.targets - first, axis=1) - np.linalg.norm(second - first, axis=1)
    assert (beyond > 0).all()
    with pytest.raises(ValueError, match="none of interpolation"):
        draw_relations("interpolate", 1, 100, np.random.default_rng(0))


def test_the_nearest_known_position():
    drawn = draw_relations("triangulation", 20, 100, np.random.default_rng(3))
    result = drawn.nearest(torch.from_numpy(drawn.known))
    for n in range(20):
        far = [np.hypot(*(position - drawn.targets[n])) for position in drawn.known[n]]
        assert result[n].numpy() == pytest.approx(drawn.known[n][int(np.argmin(far))])


def test_a_token_that_encodes_its_position_is_located_within_half_a_step():
    """Features of a place: waves of its coordinates, so that the most alike place is the nearest one."""

    def waves(places):
        phases = torch.from_numpy(np.asarray(places)) / 40
        return torch.cat([phases.cos(), phases.sin()], dim=1)

    places = grid_of(96, 8)
    truth = np.random.default_rng(0).uniform(4, 92, (30, 2))
    shares = matches(waves(truth), waves(places))
    assert (shares.sum(axis=1) == 1).all()
    assert (shares * distances(places, truth)).sum(axis=1).max() <= 4 * np.sqrt(2) + 1e-9


def test_a_constant_token_is_located_at_random():
    positions, truth = grid_of(64, 16), np.array([[8.0, 8.0], [32.0, 32.0]])
    shares = matches(torch.ones(2, 5), torch.ones(16, 5))
    assert shares == pytest.approx(np.full((2, 16), 1 / 16))
    slow = [np.mean([np.hypot(*(position - point)) for position in positions]) for point in truth]
    assert (shares * distances(positions, truth)).sum(axis=1) == pytest.approx(slow)


def test_symmetry_of_an_encoder_that_adds_side_and_organ():
    side, organ = torch.eye(8)[:2], torch.eye(8)[2:6]
    features = torch.stack([side[s] + organ[o] for o in range(4) for s in range(2)])  # right, left of each organ
    pairs = [(2 * o, 2 * o + 1) for o in range(4)]
    hits, chance = symmetry(features, pairs)
    assert hits.tolist() == [1.0] * 12 and chance.numpy() == pytest.approx(np.full(12, 1 / 5))
    hits, chance = symmetry(torch.ones(8, 3), pairs)
    assert hits.numpy() == pytest.approx(chance.numpy()), "equal features: each candidate is a share of a hit"
    assert symmetry(features, [pairs[0], (3, 2), pairs[2]])[0].mean() < 1, (
        "a pair with its sides exchanged is not found"
    )


def test_the_probe_is_tested_on_patients_that_it_has_not_seen():
    landmarks, patients = [0, 1, 2] * 6, [p for p in range(6) for _ in range(3)]
    random = torch.Generator().manual_seed(0)
    position, person = torch.eye(3)[landmarks], torch.eye(6)[patients]
    assert probe_hits(position + 0.05 * torch.randn(18, 3, generator=random), landmarks, patients).all()
    memory = torch.eye(18)  # says exactly which place of which patient: perfect on what was seen
    assert probe_hits(memory, landmarks, patients).mean() <= 1 / 3 + 1e-9
    assert probe_hits(torch.ones(18, 4), landmarks, patients).mean() <= 1 / 3 + 1e-9
    assert probe_hits(person, landmarks, patients).mean() <= 1 / 3 + 1e-9


def test_silhouettes_are_of_landmarks():
    landmarks = [0, 0, 1, 1]
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert silhouettes(features, landmarks).tolist() == [1, 1, 1, 1]
    assert (
        silhouettes(features, [0, 1, 0, 1]).tolist() == [-0.5] * 4
    )  # own landmark at 1, the other at 1 / 2 on average
    assert silhouettes(torch.ones(4, 2), landmarks).tolist() == [0, 0, 0, 0]
