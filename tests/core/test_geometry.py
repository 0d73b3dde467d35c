"""Boxes, grids and samplers: a coordinate-coded image comes back through every sampler, and slow loops agree.

The transposition of rows and columns (``docs/methods/self_supervision.md``, "3.6 Exchanged rows and columns" and
"4.5 Known problems") is what these tests are made to catch.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.geometry import boxes as geometry
from foundationx.core.geometry.samplers import (
    Lattice,
    children,
    inner,
    lay_lattice,
    middle_square,
    scaled_box,
    square_box,
    tile,
    whole,
)
from foundationx.core.geometry.views import CELL
from foundationx.data.transforms.view_sets import crop, shuffle_blocks

SIZE = (640, 512)
seeds = st.integers(0, 2**31)


def coded(size):
    """Two float images of a size: each pixel holds the y, or the x, of its middle."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) + 0.5
    return y, x


def read_centres(box, cells, size=SIZE):
    """Token middles as the pixels of the view say: the mean of the coded coordinates over each token."""
    planes = [crop(plane, box, cells * CELL) for plane in coded(size)]
    means = [plane.reshape(cells, CELL, cells, CELL).mean(axis=(1, 3)).ravel() for plane in planes]
    return np.stack(means, axis=-1)


def drawn_boxes(seed, size=SIZE):
    """A box of every sampler."""
    random = np.random.default_rng(seed)
    image = whole(size)
    lattice = lay_lattice(middle_square(size), 8, random)
    offset = lattice.draw(5, random)
    crop_box = lattice.box(offset, 5)
    return {
        "whole": image,
        "middle": middle_square(size),
        "tile": tile(image, 4, random),
        "random": scaled_box(image, (0.2, 1), (3 / 4, 4 / 3), random),
        "centred": scaled_box(image, (0.3, 0.4), (2 / 3, 1), random, centred=True),
        "square": square_box(image, 256, random),
        "lattice": crop_box,
        "parity": lattice.box(lattice.draw(3, random, like=offset), 3),
        "child": children(crop_box, 2)[random.integers(4)],
        "inner": inner(crop_box, 5, 3, random),
    }


@pytest.mark.parametrize("name", drawn_boxes(0))
@pytest.mark.parametrize("seed", range(5))
def test_coordinates_come_back_through_every_sampler(name, seed):
    box = drawn_boxes(seed)[name]
    expected = geometry.centres(torch.from_numpy(box)[None], (4, 4))[0].numpy()
    pitch = (box[2:] - box[:2]) / 4
    # pixels are averaged exactly only over whole ones: a hundredth of a token is far below what could mislead
    assert np.abs((read_centres(box, 4) - expected) / pitch).max() < 0.01


def test_coordinates_on_whole_pixels_come_back_without_error():
    lattice = Lattice(np.array([17.0, 5.0]), np.array([32.0, 32.0]), 14)
    box = lattice.box(np.array([3, 1]), 8)
    expected = geometry.centres(torch.from_numpy(box)[None], (8, 8))[0].numpy()
    assert np.array_equal(read_centres(box, 8), expected.astype(np.float32))
    coarse = lattice.box(np.array([2, 0]), 12)  # two pixels of the image make one of the view
    planes = np.stack([crop(plane, coarse, 6 * CELL) for plane in coded(SIZE)])
    assert np.array_equal(planes[0, :, 0], coarse[0] + 1 + 2 * np.arange(6 * CELL))


@pytest.mark.parametrize("seed", range(20))
def test_matched_tokens_show_the_same_position_and_swapped_axes_do_not(seed):
    """Of lattice crops, matched tokens are 0 px apart; with row and column swapped they are cells apart."""
    random = np.random.default_rng(seed)
    lattice = Lattice(np.array([0.0, 0.0]), np.array([32.0, 32.0]), 15)
    first, second = (lattice.box(lattice.draw(10, random), 10) for _ in range(2))
    index, valid = match(first, second, 10)
    positions, others = read_centres(first, 10, (480, 480)), read_centres(second, 10, (480, 480))
    assert valid.any() and np.array_equal(positions[valid], others[index[valid]])
    shift = np.abs(first - second)[:2] / 32
    swapped_index, swapped_valid = match(first[[1, 0, 3, 2]], second[[1, 0, 3, 2]], 10)
    error = np.linalg.norm(positions - others[swapped_index], axis=1)[swapped_valid] / 32
    assert error.min() >= abs(shift[0] - shift[1])  # the anti-test: equal shifts alone hide a transposition
    if tuple(first[:2] - second[:2]) != tuple((first - second)[1::-1]):
        assert error.min() >= 1


def match(first, second, cells):
    index, valid = geometry.nearest(*(torch.from_numpy(b)[None] if isinstance(b, np.ndarray) else b
                                      for b in (first, (cells, cells), second, (cells, cells))))  # fmt: skip
    return index[0].numpy(), valid[0].numpy()


def test_transposed_axes_mislead_in_all_but_equal_shifts():
    """Over all offsets of PEAC's crops: 86.4 % of them mislead, by 2.2 cells an axis on average.

    See ``docs/methods/self_supervision.md``, "3.6 Exchanged rows and columns".
    """
    offsets = torch.cartesian_prod(*[torch.arange(5.0)] * 4).double() * 32
    first, second = (torch.cat([corner, corner + 14 * 32], dim=1) for corner in offsets.split(2, dim=1))
    grid = (14, 14)
    index, valid = geometry.nearest(first[:, [1, 0, 3, 2]], grid, second[:, [1, 0, 3, 2]], grid)
    others = geometry.centres(second, grid).gather(1, index[..., None].expand(-1, -1, 2))
    errors = ((geometry.centres(first, grid) - others).abs().mean(dim=-1) / 32)[valid.any(dim=1)]
    mean = torch.where(valid, errors, torch.nan).nanmean(dim=1)
    assert float((mean > 0).double().mean()) == pytest.approx(0.864, abs=1e-9)
    assert float(mean.mean()) == pytest.approx(2.2, abs=0.1)


@given(seeds, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_nearest_equals_a_slow_search(seed, rows, columns):
    random = np.random.default_rng(seed)
    first, second = (scaled_box(whole(SIZE), (0.1, 0.9), (0.5, 2), random) for _ in range(2))
    index, valid = geometry.nearest(
        torch.from_numpy(first)[None], (rows, columns), torch.from_numpy(second)[None], (columns, rows)
    )
    pitch = (second[2:] - second[:2]) / (columns, rows)
    for position, (y, x) in enumerate(slow_centres(first, rows, columns)):
        is_inside = second[0] <= y < second[2] and second[1] <= x < second[3]
        assert bool(valid[0, position]) == is_inside
        if is_inside:
            result = slow_centres(second, columns, rows)[int(index[0, position])]
            assert abs(result[0] - y) <= pitch[0] / 2 + 1e-6 and abs(result[1] - x) <= pitch[1] / 2 + 1e-6
    assert index.min() >= 0 and index.max() < rows * columns


def slow_centres(box, rows, columns):
    height, width = (box[2] - box[0]) / rows, (box[3] - box[1]) / columns
    return [(box[0] + (r + 0.5) * height, box[1] + (c + 0.5) * width) for r in range(rows) for c in range(columns)]


@given(seeds, st.sampled_from([(1.0, 2), (1.0, 1), (0.7, 3)]))
@settings(max_examples=30, deadline=None)
def test_soft_target_equals_a_slow_loop(seed, bell):
    sigma, reach = bell
    random = np.random.default_rng(seed)
    lattice = Lattice(np.array([3.0, 7.0]), np.array([30.0, 20.0]), 16)
    large = lattice.draw(12, random)
    first, second = lattice.box(lattice.draw(6, random, like=large), 6), lattice.box(large, 12)
    result = geometry.soft_target(
        torch.from_numpy(first)[None], (6, 6), torch.from_numpy(second)[None], (12, 12), sigma, reach
    )[0]
    cell = (second[2:] - second[:2]) / 12
    for i, (y, x) in enumerate(slow_centres(first, 6, 6)):
        for j, (v, u) in enumerate(slow_centres(second, 12, 12)):
            dy, dx = round((y - v) / cell[0], 6), round((x - u) / cell[1], 6)
            inside = second[0] <= y < second[2] and second[1] <= x < second[3]
            expected = math.exp(-(dy**2 + dx**2) / (2 * sigma**2)) if inside and max(abs(dy), abs(dx)) <= reach else 0
            assert float(result[i, j]) == pytest.approx(expected, abs=1e-5)


def test_soft_target_masses_of_ace():
    """``docs/methods/self_supervision.md``, "4.3 Losses": 6.17 for five by five, 4.90 for three by three; 1 at the
    counterpart, zero rows outside."""
    lattice = Lattice(np.zeros(2), np.array([32.0, 32.0]), 32)
    wide = torch.from_numpy(lattice.box(np.array([0, 2]), 28))[None]
    narrow = torch.from_numpy(lattice.box(np.array([8, 18]), 14))[None]
    down = geometry.soft_target(narrow, (14, 14), wide, (28, 28), 1.0, 2)[0]
    assert float(down[5 * 14 + 5].sum()) == pytest.approx(6.17, abs=0.005)
    index, valid = geometry.nearest(narrow, (14, 14), wide, (28, 28))
    assert torch.equal(down[torch.arange(196), index[0]] == 1, valid[0])
    assert not down[~valid[0]].any() and (~valid[0]).sum() == 14 * 2  # two columns stand out
    up = geometry.soft_target(wide, (14, 14), narrow, (7, 7), 1.0, 1)[0]
    assert float(up.sum(dim=1).max()) == pytest.approx(4.90, abs=0.005)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_samplers_stay_inside_and_keep_their_promises(seed):
    random = np.random.default_rng(seed)
    image = whole(SIZE)
    for name, box in drawn_boxes(seed).items():
        assert (box[:2] >= -1e-9).all() and (box[2:] <= np.array(SIZE) + 1e-9).all(), name
        assert (box[2:] > box[:2]).all(), name
    box = scaled_box(image, (0.2, 0.3), (0.9, 1.1), random, centred=True)
    assert np.allclose((box[:2] + box[2:]) / 2, np.array(SIZE) / 2)
    area = np.prod(box[2:] - box[:2]) / np.prod(SIZE)
    assert 0.2 <= area <= 0.3 and 0.9 <= (box[3] - box[1]) / (box[2] - box[0]) <= 1.1
    parts = children(box, 3)
    assert np.allclose(parts[0, :2], box[:2]) and np.allclose(parts[-1, 2:], box[2:])
    assert np.prod(parts[:, 2:] - parts[:, :2], axis=1).sum() == pytest.approx(np.prod(box[2:] - box[:2]))
    lattice = lay_lattice(middle_square(SIZE), 32, random, spare=0)
    large = lattice.draw(28, random)
    small = lattice.draw(14, random, like=large)
    assert ((small - large) % 2 == 0).all() and (small >= 0).all() and (small <= 18).all()


def test_the_window_of_lamps_leaves_75_cells_outside():
    random = np.random.default_rng(3)
    outer = Lattice(np.zeros(2), np.array([32.0, 32.0]), 14).box(np.zeros(2), 14)
    window = inner(outer, 14, 11, random)
    points = geometry.centres(torch.from_numpy(outer)[None], (14, 14))
    assert int((~geometry.inside(points, torch.from_numpy(window)[None])).sum()) == 75


@given(seeds, st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_shuffled_blocks_show_what_the_order_says(seed, cells):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, size=(cells * 4, cells * 4), dtype=np.uint8)
    order = random.permutation(cells * cells)
    shuffled = shuffle_blocks(image, order)
    for position, source in enumerate(order):
        r, c, v, u = *divmod(position, cells), *divmod(int(source), cells)
        here, there = shuffled[4 * r : 4 * r + 4, 4 * c : 4 * c + 4], image[4 * v : 4 * v + 4, 4 * u : 4 * u + 4]
        assert np.array_equal(here, there)
    assert np.array_equal(shuffle_blocks(shuffled, np.argsort(order)), image)
