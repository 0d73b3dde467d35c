"""Figures of ``selfsup_transfer.py`` on values by hand, and the baselines' losses beside plain formulas."""

import numpy as np
import pytest
import selfsup_baselines
import selfsup_learning
import torch
from selfsup_learning import STEP, dice_by_patient, landmarks
from selfsup_transfer import DRAWS, crossed, difference, shown
from selfsup_worlds import SHARES
from torch import nn

from foundationx.core.types import Split
from foundationx.datasets.splits import hashed_split
from foundationx.evaluation.anatomy.suite import Radiograph
from foundationx.tasks.self_supervision.objective import Tokens
from tests.helpers.predicted import masked


def test_the_two_sides_have_the_same_test_patients_and_settings_are_chosen_without_them():
    names = [f"patient{n}" for n in range(300)]
    sides = {
        side: [hashed_split(name, {Split(k): v for k, v in shares.items()}, 0) for name in names]
        for side, shares in SHARES.items()
    }
    test, val = sides[Split.TEST], sides[Split.VAL]
    assert [split is Split.TEST for split in test] == [split is Split.TEST for split in val]
    assert all(one is Split.TRAIN for one, two in zip(test, val, strict=True) if two is not Split.TEST)
    assert 40 < val.count(Split.VAL) < 80


def test_differences_are_of_pairs_and_their_interval_covers_patients_and_seeds():
    reference = np.random.default_rng(0).normal(80, 20, (1, 40))
    constant = difference(reference + 2, reference)  # patients differ much, pairs do not
    assert (constant.value, constant.low, constant.high) == pytest.approx((2, 2, 2))

    gains = np.array([1.0, 2.0, 3.0, 4.0, 5.0])  # 3 ± 1.58, over 5 seeds: the 97.5 % point of Student's t is 2.776
    spread = difference(reference + gains[:, None], np.repeat(reference, 5, axis=0))
    half = 2.776 * gains.std(ddof=1) / np.sqrt(5)
    assert spread.value == pytest.approx(3)
    assert (spread.low, spread.high) == pytest.approx((3 - half, 3 + half), abs=0.35)  # of DRAWS draws
    assert DRAWS >= 1000

    patients = np.tile([0.0, 2.0], 200)  # mean 1, standard error 1 / 20
    alone = difference(patients, np.zeros(400))
    assert (alone.low, alone.high) == pytest.approx((1 - 1.96 / 20, 1 + 1.96 / 20), abs=0.015)
    assert shown(alone).startswith("+1.0 (+0.9 to +1.1")


def test_the_interval_of_pairs_covers_both_groups_of_patients():
    """What differs between those asked alone has the interval of their number, however many are searched."""
    asked = np.tile([-1.0, 1.0], 50)[:, None] + np.zeros((1, 400))
    found = crossed(asked + 5, np.full((100, 400), 2.0))
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == pytest.approx((3 - 1.96 / 10, 3 + 1.96 / 10), abs=0.03)
    turned = crossed((asked + 5).T, np.full((400, 100), 2.0))
    assert (turned.low, turned.high) == pytest.approx((3 - 1.96 / 10, 3 + 1.96 / 10), abs=0.03)


def test_dice_of_a_patient_is_the_mean_of_its_images():
    true = np.zeros((3, 1, 4, 4), dtype=bool)
    true[:, :, :2] = True
    predicted = true.copy()
    predicted[1] = False  # Dice 0
    predicted[2, :, 1:] = False  # 4 of 8 pixels: 2 * 4 / (8 + 4)
    found = dice_by_patient(masked(predicted, true, patients=["a", "a", "b"]))
    assert found == pytest.approx({"a": 0.5, "b": 2 / 3})


def _levels(images):
    """Tokens of the grey level in the view's middle: 16 directions, of length 1 plus the rest by 16. Beside it a long
    vector that all places have in common."""
    middle = images[:, 0, images.shape[2] // 2, images.shape[3] // 2].long()
    direction = nn.functional.one_hot(middle // 16, 16) * (1.0 + middle[:, None] % 16)
    feature = torch.cat([direction, torch.full((len(middle), 1), 200.0)], dim=1)
    return Tokens(feature[:, None].repeat(1, 25, 1), (5, 5))


def test_centred_features_match_what_a_common_vector_hides():
    """16 landmarks, each in a block of its own level. In the second image every other one has three times the length:
    beside the common vector, cosines are distances, and 2 to the right place is more than sqrt(2) to another."""
    levels = np.arange(16).reshape(4, 4) * 16
    longer = levels + 2 * (np.arange(16).reshape(4, 4) % 2)
    points = {f"organ: {n}": (STEP * (n // 4 + 0.5), STEP * (n % 4 + 0.5)) for n in range(16)}
    first, second = (
        Radiograph(np.kron(values, np.ones((STEP, STEP))).astype(np.uint8), points) for values in (levels, longer)
    )
    found = landmarks(_levels, [first, second], 1)
    assert found["centred"] == [[0.0]]
    right = np.arange(16) % 2 == 0  # the others go to one of the right ones, as far as these lie on average
    places = np.array(list(points.values()))
    away = np.linalg.norm(places[:, None] - places[None], axis=2)[~right][:, right].mean(axis=1)
    assert found["raw"][0] == pytest.approx([away.sum() / 16])
    assert found["common"] == pytest.approx(1, abs=1e-3)
    assert found["same_place"] == 0
    assert found["chance"] == pytest.approx(np.linalg.norm(places[:, None] - places[None], axis=2).mean())


def _flat():
    """Four numbers of an image as its map."""
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Unflatten(1, (4, 1, 1)), _List())


class _List(nn.Module):
    def forward(self, feature):
        return [feature]


def test_simclr_is_the_normalised_cross_entropy_of_pairs():
    pytest.importorskip("lightly.loss")
    torch.manual_seed(0)
    method = selfsup_baselines.SimClr(_flat(), 4).eval()
    images = {name: torch.randn(3, 3, 2, 2) for name in ("one", "two")}
    units = [
        nn.functional.normalize(method.head(selfsup_baselines.pooled(method.net, images[n])), dim=1) for n in images
    ]
    both = torch.cat(units)
    similar = (both @ both.T / 0.5).fill_diagonal_(-torch.inf)
    expected = nn.functional.cross_entropy(similar, torch.tensor([3, 4, 5, 0, 1, 2]))
    torch.testing.assert_close(method(images), expected)


def test_dino_is_the_cross_entropy_to_the_teacher_of_other_views():
    pytest.importorskip("lightly.loss")
    torch.manual_seed(0)
    method = selfsup_baselines.Dino(_flat(), 4)
    names = ["global0", "global1", *(f"local{n}" for n in range(selfsup_baselines.LOCALS))]
    images = {name: torch.randn(3, 3, 2, 2) for name in names}
    outputs = [method.head(selfsup_baselines.pooled(method.net, images[name])) / 0.1 for name in names]
    terms = [
        -((10 / 4 * outputs[t]).softmax(1) * outputs[s].log_softmax(1)).sum(1).mean()
        for t in (0, 1)
        for s in range(len(names))
        if s != t  # the teacher is a copy of the student, its centre 0
    ]
    torch.testing.assert_close(method(images), torch.stack(terms).mean())

    before = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.net.parameters():
            parameter.add_(1.0)
    method.follow(0.0)
    moved = max(float((new - old).max()) for new, old in zip(method.teacher.parameters(), before, strict=True))
    assert moved == pytest.approx(1 - selfsup_baselines.DINO_MOMENTUM[0], abs=1e-6)
    assert not any(p.requires_grad for p in method.teacher.parameters())


def test_the_encoder_of_mae_becomes_the_plain_vit():
    pytest.importorskip("transformers")
    from foundationx.models.backbone import build_net

    net = build_net(dict(selfsup_learning.PLAIN_VIT))
    method = selfsup_baselines.Mae(net, 192).eval()
    images = torch.randn(2, 3, 128, 128)
    learned = method.learned
    method.mae.config.mask_ratio = method.mae.vit.config.mask_ratio = 0.0
    noise = torch.arange(64.0).repeat(2, 1)  # patches stay in order
    with torch.no_grad():
        expected = method.mae.vit(images, noise=noise).last_hidden_state
        patches = slice(1, None)  # the class token, near 0 before training, is all rounding; maps do not have it
        torch.testing.assert_close(
            learned.eval().tokens(images)[:, patches], expected[:, patches], rtol=1e-4, atol=1e-4
        )
