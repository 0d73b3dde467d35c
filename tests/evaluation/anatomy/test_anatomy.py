"""Measures of anatomy on encoders that know everything, and on features made by hand."""

import numpy as np
import pytest
import torch

from foundationx.core.geometry.views import CELL
from foundationx.evaluation.anatomy.measures import (
    composition_cosines,
    correspondence,
    decomposition_hits,
    features_at,
    grid_of,
    locality_hits,
    parts_of,
)
from foundationx.tasks.self_supervision.objective import Tokens


def see_means(images):
    """Two features a token: its mean grey value and 1."""
    cells = images.shape[-1] // CELL
    means = images[:, 0].float().unflatten(1, (cells, CELL)).unflatten(3, (cells, CELL)).mean(dim=(2, 4)).flatten(1)
    return Tokens(torch.stack([means, torch.full_like(means, 100.0)], dim=2), (cells, cells))


def slope(size=128):
    """Grey values that rise by one a pixel from left to right."""
    return np.tile(np.arange(size, dtype=np.uint8), (size, 1))


def test_positions_are_seen_in_the_middle_of_a_token():
    points = np.array([[64.0, 40.0], [20.0, 90.0], [64.0, 64.0]])
    result = features_at(see_means, slope(), points, 96)[:, 0]
    assert result.tolist() == pytest.approx([39.5, 89.5, 63.5], abs=0.05)  # of 32 pixels around x
    with pytest.raises(ValueError, match="none in the middle"):
        features_at(see_means, slope(), points, 64)


def test_landmarks_are_located_in_another_image():
    positions = grid_of(128, 8)
    assert len(positions) == 256 and positions[1].tolist() == [4, 12]
    keys, truth = features_at(see_means, slope(), positions, 96), np.array([[60.0, 44.0], [60.0, 84.0]])
    queries = features_at(see_means, slope(), truth, 96)
    columns = positions * [0, 1]  # this encoder cannot tell rows
    assert correspondence(queries, keys, columns, truth * [0, 1]).tolist() == [0.0, 0.0]
    assert correspondence(queries, keys, columns, truth[::-1] * [0, 1]).tolist() == [40.0, 40.0]


def test_locality_needs_other_patients():
    """Features that say which landmark are found; features that only say which patient are not."""
    landmarks, patients = [0, 1, 2] * 6, [p for p in range(6) for _ in range(3)]
    position, person = torch.eye(3)[landmarks], torch.eye(6)[patients]
    assert locality_hits(position, landmarks, patients, 3).double().mean() == 1.0
    assert locality_hits(torch.cat([0.1 * position, person], dim=1), landmarks, patients, 3).double().mean() == 1.0
    assert locality_hits(person + 1e-4 * torch.randn(18, 6), landmarks, patients, 3).double().mean() < 0.8


def test_a_vote_is_won_by_the_nearest_where_it_is_tied():
    features = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.9, 0.4], [0.0, 1.0]])
    assert locality_hits(features, [0, 0, 1, 1], [0, 1, 2, 3], neighbours=2).double().mean() == pytest.approx(3 / 4)


def test_composition_and_decomposition_of_an_additive_encoder():
    parts = torch.randn(5, 4, 16, generator=torch.Generator().manual_seed(0))
    own, other = (cosines.mean() for cosines in composition_cosines(parts.sum(dim=1), parts))
    assert own == pytest.approx(1.0) and abs(other) < 0.4
    wholes = parts.sum(dim=1)
    assert decomposition_hits(wholes, wholes - parts[:, 0], parts[:, 0]).mean() == 1.0
    assert decomposition_hits(wholes, wholes - parts[:, 0], parts[:, 0].roll(1, dims=0)).mean() == 0.0


def test_parts_are_quadrants_row_by_row():
    image = np.zeros((64, 64), np.uint8)
    image[:32, 32:], image[32:, :32], image[32:, 32:] = 40, 80, 120
    wholes, quadrants, without = parts_of(see_means, [image], 64)
    assert wholes[0, 0] == 60 and quadrants[0, :, 0].tolist() == [0, 40, 80, 120]
    assert without[0, :, 0].tolist() == [60, 50, 40, 30]
