"""Renders anatomy as a radiograph: thickness adds up, intensity follows Beer and Lambert; bone is bright, air dark."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from foundationx.phantoms.anatomy import MIDLINE, Acquisition, Patient

_SUB = 3  # cv2's sub-pixel bits for smooth outlines
_GENERATIONS = 4  # of the vessels' branches
_WAY = np.linspace(0, 1, 12)  # along a branch


def fill(outline: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """A filled outline in patient coordinates, (size, size) bool."""
    canvas = np.zeros((acquisition.size, acquisition.size), dtype=np.uint8)
    points = np.round(acquisition.to_pixels(outline) * (1 << _SUB)).astype(np.int32)
    cv2.fillPoly(canvas, [points], 1, shift=_SUB)
    return canvas.astype(bool)


def soften(mask: np.ndarray, acquisition: Acquisition, width: float = 0.006) -> np.ndarray:
    """A mask with a soft edge; ``width`` as a share of the image."""
    return gaussian_filter(mask.astype(np.float32), width * acquisition.size)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask (H, W) bool."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def stroke(lines: Sequence[np.ndarray] | np.ndarray, width: float, acquisition: Acquisition) -> np.ndarray:
    """Lines of a width in patient coordinates, each of equally many points (n, 2); (size, size) float in [0, 1]."""
    canvas = np.zeros((acquisition.size, acquisition.size), dtype=np.uint8)
    points = np.round(acquisition.to_pixels(np.asarray(lines)) * (1 << _SUB)).astype(np.int32)
    cv2.polylines(canvas, list(points), False, 255, max(1, round(width * acquisition.size)), cv2.LINE_AA, shift=_SUB)
    return canvas.astype(np.float32) / 255


def attenuation(
    patient: Patient, acquisition: Acquisition, vessel_map: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Attenuation of the healthy body with its :func:`vessels`, and the masks of lungs and heart.

    Returns:
        (size, size) float, 0 in air; masks ``left_lung``, ``right_lung`` (without the part behind the
        heart) and ``heart``, (size, size) bool.
    """
    x, y = acquisition.grid()
    lungs = {name: fill(getattr(patient, name), acquisition) for name in ("left_lung", "right_lung")}
    heart = fill(patient.heart, acquisition)
    total = _soft_tissue(patient, x, y)
    air = soften(lungs["left_lung"] | lungs["right_lung"], acquisition)
    total -= air * (0.60 + 0.10 * np.exp(-(((y - 0.42) / 0.25) ** 2))) * np.minimum(patient.density, 1.0)
    # Outside the lungs the heart does not stand out from the dense tissue around it.
    total += 0.50 * soften(heart, acquisition, 0.010) * _dome(heart, acquisition) * (0.2 + 0.8 * air)
    total += _mediastinum(patient, x, y)
    total += _bones(patient, acquisition, air)
    total += vessel_map * air
    masks = {name: largest_part(mask & ~heart) for name, mask in lungs.items()} | {"heart": heart}
    return np.maximum(total, 0), masks


def expose(total: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Converts attenuation to an image, (size, size) uint8, with quantum noise, blur and the exposure."""
    random = np.random.default_rng([acquisition.seed, 3])
    transmitted = np.exp(-1.55 * total * acquisition.exposure)
    noise = random.normal(0, 1, total.shape) * acquisition.noise * np.sqrt(transmitted + 0.05)
    bright = 1 - gaussian_filter(transmitted + gaussian_filter(noise, 0.6) * 1.6, 0.5)
    bright = np.clip(bright, 0, 1)
    low, high = 0.0, np.quantile(bright, 0.995)
    tone = np.clip((bright - low) / (high - low), 0, 1) ** (1.5 * acquisition.gamma)
    return np.round(tone * 250).astype(np.uint8)


def _soft_tissue(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Neck, shoulders, chest wall and abdomen: thick in the middle, thin at the edge, denser below the diaphragm."""
    heights = [-0.2, 0.0, 0.05, 0.10, 0.16, 0.24, 0.34, 0.60, 0.80, 1.2]
    halves = [0.13, 0.14, 0.17, 0.30, 0.44, 0.475, 0.455, 0.435, 0.440, 0.46]
    half = np.interp(y, heights, halves) * patient.width
    depth = np.sqrt(np.clip(1 - ((x - MIDLINE) / half) ** 2, 0, 1))
    wall = 1 / (1 + np.exp(-(half - np.abs(x - MIDLINE)) / 0.006))
    abdomen = 1 / (1 + np.exp(-(y - 0.76) / 0.03))
    shoulders = np.exp(-(((y - 0.13) / 0.06) ** 2)) * np.clip(np.abs(x - MIDLINE) - 0.12, 0, 0.3)
    tissue = (0.42 + 0.60 * depth + 0.38 * abdomen * depth + 0.5 * shoulders) * wall
    if patient.stomach:
        gas = ((x - 0.70) / 0.065) ** 2 + ((y - 0.835) / 0.032) ** 2
        tissue -= 0.34 / (1 + np.exp(np.minimum((gas - 1) / 0.12, 50)))
    return tissue * patient.density


def _dome(mask: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Thickness of a rounded body over its mask, in [0.55, 1]."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / (0.12 * acquisition.size)
    return 0.55 + 0.45 * np.sqrt(np.clip(inside, 0, 1))


def _mediastinum(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Great vessels, spine with its discs, and the trachea's air."""
    centre = x - MIDLINE
    column = np.exp(-((centre / 0.038) ** 2)) * (0.15 + 0.03 * np.cos(2 * np.pi * y / 0.052))
    upper = 1 / (1 + np.exp((np.abs(centre - 0.005) - 0.048) / 0.011))
    great = 0.20 * upper / (1 + np.exp((y - 0.50) / 0.03)) / (1 + np.exp(-(y - 0.10) / 0.03))
    knob_x, knob_y = patient.knob
    knob = 0.24 / (1 + np.exp((np.hypot((x - knob_x) / 1.0, (y - knob_y) / 1.15) - 0.036) / 0.004))
    aorta = 0.13 * np.exp(-(((centre - 0.035) / 0.020) ** 2)) / (1 + np.exp(-(y - knob_y) / 0.02))
    carina = knob_y + 0.055
    trachea = np.exp(-((centre / 0.016) ** 2)) / (1 + np.exp((y - carina) / 0.012))
    bronchi = sum(
        np.exp(-(((centre - side * 0.75 * (y - carina)) / 0.012) ** 2)) * ((y > carina) & (y < carina + 0.07))
        for side in (-1, 1)
    )
    return column + great + knob + aorta - 0.30 * trachea - 0.12 * bronchi


def _bones(patient: Patient, acquisition: Acquisition, air: np.ndarray) -> np.ndarray:
    """Ribs with bright edges, clavicles and the edge of the scapulae. Their contrast is higher over the lungs."""
    back, front = _ribs(patient)
    width = 0.024
    canvas = np.zeros((acquisition.size, acquisition.size), dtype=np.float32)
    for lines, strength, thick in ((back, 0.135, width), (front, 0.07, width * 1.25)):
        outer, inner = stroke(lines, thick, acquisition), stroke(lines, thick * 0.55, acquisition)
        canvas += strength * gaussian_filter(0.62 * outer + 0.38 * (outer - inner), 0.0022 * acquisition.size)
    clavicles = [_bone(((s * 0.035, 0.182), (s * 0.15, 0.150), (s * 0.25, 0.138), (s * 0.36, 0.088))) for s in (-1, 1)]
    outer, inner = stroke(clavicles, 0.026, acquisition), stroke(clavicles, 0.014, acquisition)
    canvas += 0.27 * gaussian_filter(0.6 * outer + 0.4 * (outer - inner), 0.0025 * acquisition.size)
    blades = [_bone(((s * 0.37, 0.15), (s * 0.335, 0.24), (s * 0.345, 0.34), (s * 0.385, 0.42))) for s in (-1, 1)]
    canvas += 0.09 * gaussian_filter(stroke(blades, 0.012, acquisition), 0.003 * acquisition.size)
    return canvas * (0.6 + 0.4 * air)


@functools.cache
def _bone(points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """A smooth line through points given from the midline; the same in all patients."""
    nodes = np.array(points)
    spread = np.linspace(0, 1, 40)
    knots = np.linspace(0, 1, len(nodes))
    smooth = [np.polyval(np.polyfit(knots, nodes[:, axis], 3), spread) for axis in (0, 1)]
    return np.stack([smooth[0] + MIDLINE, smooth[1]], axis=1)


def _ribs(patient: Patient) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Posterior ribs slope gently from the spine outwards; anterior ribs return steeply towards the sternum."""
    back, front = [], []
    way = np.linspace(0, 1, 40)
    for number in range(10):
        start = patient.rib_start + number * patient.rib_step
        reach = np.interp(start, [0.08, 0.2, 0.35, 0.55, 0.8], [0.14, 0.27, 0.335, 0.37, 0.375]) * patient.width
        drop = 0.055 + 0.075 * number / 9
        for side in (-1, 1):
            out = 0.04 + (reach - 0.04) * np.sin(way * np.pi / 2)
            down = start - 0.018 * np.sin(np.pi * way) + drop * way**2.2
            back.append(np.stack([MIDLINE + side * out, down], axis=1))
            if number < 7:
                home = reach * np.cos(way * np.pi / 2 * 0.66)
                fall = down[-1] + 0.145 * way**1.15
                front.append(np.stack([MIDLINE + side * home, fall], axis=1))
    return back, front


def vessels(patient: Patient, acquisition: Acquisition) -> np.ndarray:
    """Pulmonary vessels: trees from the hila outwards, each generation thinner, (size, size) attenuation."""
    random = np.random.default_rng(patient.vessels)
    branches: list[_Branch] = []
    hila = {side: np.array([MIDLINE + side * 0.075, patient.knob[1] + 0.125 + 0.012 * side]) for side in (-1, 1)}
    for side in hila:
        for angle in np.linspace(-1.25, 1.25, 7) + random.normal(0, 0.08, 7):
            _grow(branches, random, None, side, angle, 0.0115, 0.105, _GENERATIONS)
    lines = _branch_lines(branches, hila)
    canvas: np.ndarray = np.zeros((acquisition.size, acquisition.size), dtype=np.float32)
    widths = np.array([round(branch.width, 4) for branch in branches])
    for width in dict.fromkeys(widths.tolist()):
        canvas = np.maximum(canvas, stroke(lines[widths == width], width, acquisition) * (0.05 + 11 * width))
    return gaussian_filter(canvas, 0.0025 * acquisition.size)


class _Branch(NamedTuple):
    """A vessel between two forks. ``parent`` is its place among all branches, None at the hilum."""

    parent: int | None
    side: int
    angle: float
    bend: float
    width: float
    length: float


def _grow(
    branches: list[_Branch],
    random: np.random.Generator,
    parent: int | None,
    side: int,
    angle: float,
    width: float,
    length: float,
    generations: int,
) -> None:
    """One branch and, from its end, two thinner ones."""
    bend, own = random.normal(0, 0.25), len(branches)
    branches.append(_Branch(parent, side, angle, bend, width, length))
    if generations > 1:
        for spread in (-0.38, 0.38):
            turn = angle + bend + spread + random.normal(0, 0.12)
            shorter = length * random.uniform(0.62, 0.85)
            _grow(branches, random, own, side, turn, width * 0.66, shorter, generations - 1)


def _branch_lines(branches: list[_Branch], hila: dict[int, np.ndarray]) -> np.ndarray:
    """Points of all branches, (branches, 12, 2): all of a generation at once, since each begins where one ends."""
    side, angle, bend, length = (
        np.array([getattr(branch, name) for branch in branches]) for name in ("side", "angle", "bend", "length")
    )
    turns = angle[:, None] + bend[:, None] * _WAY
    steps = np.stack([side[:, None] * np.cos(turns), np.sin(turns)], axis=2) * length[:, None, None] / 11
    steps[:, 0] = 0
    lines = np.cumsum(steps, axis=1)
    parents = np.array([-1 if branch.parent is None else branch.parent for branch in branches])
    due = parents == -1
    lines[due] += np.stack([hila[branch.side] for branch in branches if branch.parent is None])[:, None]
    for _ in range(1, _GENERATIONS):
        due = np.isin(parents, np.flatnonzero(due))
        lines[due] += lines[parents[due], -1][:, None]
    return lines
