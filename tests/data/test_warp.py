"""The one warp of a view: against a slow one, against albumentations' two steps, and against itself."""

import random

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.config.views import GeometryConfig, PhotometryConfig
from foundationx.data.transforms.geometric import Move, Moves, warp
from foundationx.data.transforms.photometric import Tones

SIDE = 64
seeds = st.integers(0, 2**32 - 1)
turns = st.fixed_dictionaries({"rotate": st.floats(0, 25), "scale": st.floats(0, 0.3), "shift": st.floats(0, 0.2)})


class Stream(random.Random):
    """Draws nothing where there is nothing to choose: albumentations also draws a shear of 0 to 0."""

    def uniform(self, a, b):
        return a if a == b else super().uniform(a, b)


def moves(**options):
    return Moves(GeometryConfig(**options), SIDE)


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), np.uint8)


def smooth(seed=0):
    """Waves no shorter than a quarter of the image, about grey."""
    rows, columns = np.mgrid[:SIDE, :SIDE] * (2 * np.pi / SIDE)
    drawn = np.random.default_rng(seed).uniform(-2, 2, (4, 3))
    waves = sum(np.sin(a * columns + b * rows + c) for a, b, c in drawn)
    return np.round(128 + 25 * waves).astype(np.uint8)


def slow_warp(image, matrix, fill, nearest=False):
    """Pixel by pixel: where does it come from, and what lies between the four pixels around that place?"""
    back, moved = np.linalg.inv(matrix), np.zeros(image.shape)
    around = np.pad(image.astype(float), 2, constant_values=fill)
    for row, column in np.ndindex(*image.shape):
        x, y = (back @ [column + 0.5, row + 0.5, 1])[:2] - 0.5
        x, y = np.clip([x, y], -1.5, SIDE + 0.5)
        left, top = int(np.floor(x)), int(np.floor(y))
        right, down = (round(x - left), round(y - top)) if nearest else (x - left, y - top)
        four = around[top + 2 : top + 4, left + 2 : left + 4]
        moved[row, column] = np.array([1 - down, down]) @ four @ np.array([1 - right, right])
    return moved


@settings(max_examples=15, deadline=None)
@given(turns, seeds)
def test_pixels_are_those_of_a_slow_warp(turn, seed):
    matrix = moves(**turn, hflip=0.5, crop_scale=(0.4, 1.0)).draw(random.Random(seed)).matrix()
    exact = cv2.ipp.useIPP()  # elsewhere OpenCV rounds places to 1/32 of a pixel
    result = warp(noise(seed), matrix, cv2.INTER_LINEAR, 0)
    assert abs(result - slow_warp(noise(seed), matrix, 0)).max() <= (0.51 if exact else 12)
    result = warp(noise(seed), matrix, cv2.INTER_NEAREST, 255)
    assert (result != slow_warp(noise(seed), matrix, 255, nearest=True)).mean() <= (0.001 if exact else 0.01)


@given(turns, seeds)
def test_a_turn_is_what_albumentations_draws(turn, seed):
    theirs = A.Affine(
        rotate=(-turn["rotate"], turn["rotate"]),
        scale=(1 - turn["scale"], 1 + turn["scale"]),
        translate_percent=(-turn["shift"], turn["shift"]),
    )
    theirs.set_random_state(np.random.default_rng(), Stream(seed))
    expected = theirs.get_params_dependent_on_data({"shape": (SIDE, SIDE)}, {})["bbox_matrix"]
    result = moves(**turn).draw(Stream(seed)).turn if any(turn.values()) else np.eye(3)
    np.testing.assert_allclose(result, expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(turns, st.booleans(), seeds)
def test_one_warp_shows_what_a_turn_and_then_a_crop_show(turn, flip, seed):
    move = moves(**turn, hflip=float(flip), crop_scale=(0.5, 1.0)).draw(random.Random(seed))
    image, inside = smooth(seed), np.full((SIDE, SIDE), 255, np.uint8)

    def two_steps(pixels):
        turned = pixels if move.turn is None else warp(pixels, move.turn, cv2.INTER_LINEAR, 0)
        x1, y1, x2, y2 = move.crop
        part = np.ascontiguousarray((turned[:, ::-1] if flip else turned)[y1:y2, x1:x2])
        return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(int)

    clear = (two_steps(inside) == 255) & (move.image(inside) == 255)  # away from the image's rim
    clear[[0, -1]] = clear[:, [0, -1]] = False  # two steps show nothing from beyond the crop
    beside = abs(move.image(image).astype(int) - two_steps(image))[clear]
    assert clear.mean() > 0.2 and beside.max() <= 4 and beside.mean() <= 1


@settings(max_examples=60, deadline=None)
@given(turns, st.booleans(), st.floats(16, 48), st.floats(16, 48), seeds)
def test_positions_go_where_their_pixels_go(turn, flip, x, y, seed):
    move = moves(**turn, hflip=float(flip), crop_scale=(0.6, 1.0)).draw(random.Random(seed))
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    spot = (200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)).round().astype(np.uint8)
    position = move.points(np.array([[x, y]]))[0]
    if (position > 12).all() and (position < SIDE - 12).all():
        seen = move.image(spot).astype(float)
        centre = [(columns * seen).sum() / seen.sum(), (rows * seen).sum() / seen.sum()]
        np.testing.assert_allclose(position, centre, atol=0.15)


@given(seeds)
def test_a_crop_alone_is_albumentations_crop(seed):
    theirs = A.RandomResizedCrop(size=(SIDE, SIDE), scale=(0.3, 1.0), mask_interpolation=cv2.INTER_NEAREST_EXACT)
    theirs.set_random_state(np.random.default_rng(), random.Random(seed))
    expected = theirs(image=noise(), mask=noise(1))
    move = moves(crop_scale=(0.3, 1.0)).draw(random.Random(seed))
    assert move.turn is None
    np.testing.assert_array_equal(move.image(noise()), expected["image"])
    np.testing.assert_array_equal(move.masks(noise(1)[None])[0], expected["mask"])


def test_the_rim_of_a_crop_without_a_turn_is_not_mixed_with_black():
    move = Move(SIDE, None, False, (0, 0, SIDE // 2, SIDE // 2))
    assert (move.image(np.full((SIDE, SIDE), 90, np.uint8)) == 90).all()


def test_a_crop_does_not_follow_the_turn():
    drawn = [moves(rotate=10, shift=0.1, crop_scale=(0.5, 1.0)).draw(random.Random(seed)) for seed in range(400)]
    turned = np.array([[move.turn[0, 1], move.turn[0, 2], move.turn[1, 2]] for move in drawn])
    crops = np.array([move.crop for move in drawn])
    cropped = np.column_stack([crops[:, 2] - crops[:, 0], crops[:, 3] - crops[:, 1], crops[:, 0]])
    assert abs(np.corrcoef(turned.T, cropped.T)[:3, 3:]).max() < 0.2


def test_gamma_does_not_follow_contrast():
    """A level x becomes 255 (c x / 255)^g: in logarithms a line of slope g through g log c at white."""
    levels, tones = np.arange(40, 160, dtype=np.uint8), Tones(PhotometryConfig(contrast=0.2, gamma=0.2))
    toned = [tones(levels[None], random.Random(seed))[0] / 255 for seed in range(400)]
    gamma, white = np.transpose([np.polyfit(np.log(levels / 255), np.log(curve), 1) for curve in toned])
    assert 0.08 < gamma.std() < 0.15 and 0.08 < np.exp(white / gamma).std() < 0.15
    assert abs(np.corrcoef(gamma, white / gamma)[0, 1]) < 0.2


@given(seeds)
def test_one_table_gives_what_curves_give_one_after_the_other(seed):
    curves = [
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.7),
        A.RandomGamma(gamma_limit=(80, 120), p=0.7),
    ]
    theirs = A.Compose(curves)
    theirs.set_random_state(np.random.default_rng(), random.Random(seed))
    ours = Tones(PhotometryConfig(brightness=0.2, contrast=0.3, gamma=0.2, chance=0.7))
    np.testing.assert_array_equal(ours(noise(), random.Random(seed)), theirs(image=noise())["image"])


@pytest.mark.parametrize("before", [False, True])
def test_opencv_is_left_as_it_was(before):
    cv2.ipp.setUseIPP_NotExact(before)
    try:
        warp(noise(), np.eye(3), cv2.INTER_LINEAR, 0)
        assert cv2.ipp.useIPP_NotExact() == (before and cv2.ipp.useIPP())
    finally:
        cv2.ipp.setUseIPP_NotExact(False)
