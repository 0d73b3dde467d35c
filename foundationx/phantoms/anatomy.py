"""A patient's anatomy as outlines in patient coordinates, and the acquisition of an image.

Patient coordinates: the image is the square from (0, 0) to (1, 1), x to its right (the patient's left), y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import splev, splprep

MIDLINE = 0.5

# Control points of the average patient. The right lung is on the image's left.
_RIGHT_LUNG = [
    (0.385, 0.115), (0.315, 0.135), (0.245, 0.205), (0.190, 0.330), (0.155, 0.480), (0.135, 0.620), (0.128, 0.735),
    (0.165, 0.722), (0.235, 0.672), (0.310, 0.662), (0.390, 0.700), (0.455, 0.735), (0.465, 0.600), (0.462, 0.400),
    (0.455, 0.230), (0.435, 0.140),
]  # fmt: skip
_LEFT_LUNG = [
    (0.615, 0.115), (0.685, 0.135), (0.755, 0.205), (0.810, 0.330), (0.845, 0.480), (0.865, 0.620), (0.872, 0.755),
    (0.835, 0.745), (0.765, 0.700), (0.690, 0.690), (0.610, 0.715), (0.545, 0.750), (0.535, 0.600), (0.538, 0.400),
    (0.545, 0.230), (0.565, 0.140),
]  # fmt: skip
_HEART = [
    (0.470, 0.430), (0.430, 0.520), (0.412, 0.620), (0.430, 0.705), (0.510, 0.745), (0.610, 0.752), (0.690, 0.735),
    (0.708, 0.690), (0.685, 0.615), (0.640, 0.535), (0.585, 0.470), (0.545, 0.425),
]  # fmt: skip
_HEART_CENTRE = np.array([0.52, 0.62])
_THORAX_WIDTH = 0.744
_HEART_WIDTH = 0.296


def smooth_outline(points: np.ndarray, count: int = 240) -> np.ndarray:
    """A closed smooth curve (count, 2) through control points (n, 2)."""
    closed = np.vstack([points, points[:1]])
    spline, _ = splprep(closed.T, s=0, per=True)
    return np.stack(splev(np.linspace(0, 1, count, endpoint=False), spline), axis=1)  # type: ignore[call-overload]  # the stubs of splprep lack per=True


@dataclass(frozen=True)
class Patient:
    """Outlines (n, 2) and sizes of one patient, in patient coordinates.

    Attributes:
        name: Name, unique within a seed.
        left_lung: Outline including the part behind the heart.
        right_lung: Outline including the part behind the heart.
        heart: Outline.
        width: Width of the body relative to the average patient.
        rib_start: y of the first posterior rib at the spine.
        rib_step: Distance in y between ribs.
        knob: Centre of the aortic knob.
        stomach: Whether the stomach shows gas.
        density: Density of the soft tissue, 1 on average.
        vessels: Seed of the vessel trees.
    """

    name: str
    left_lung: np.ndarray
    right_lung: np.ndarray
    heart: np.ndarray
    width: float
    rib_start: float
    rib_step: float
    knob: tuple[float, float]
    stomach: bool
    density: float
    vessels: int

    def landmarks(self) -> dict[str, tuple[float, float]]:
        """Named points in patient coordinates."""
        right, left, heart = self.right_lung, self.left_lung, self.heart
        return {
            "right apex": tuple(right[right[:, 1].argmin()]),
            "left apex": tuple(left[left[:, 1].argmin()]),
            "right costophrenic angle": tuple(right[(right[:, 1] - right[:, 0]).argmax()]),
            "left costophrenic angle": tuple(left[(left[:, 1] + left[:, 0]).argmax()]),
            "right heart border": tuple(heart[heart[:, 0].argmin()]),
            "left heart border": tuple(heart[heart[:, 0].argmax()]),
            "aortic knob": self.knob,
            "carina": (MIDLINE, self.knob[1] + 0.055),
        }


@dataclass(frozen=True)
class Acquisition:
    """Acquisition of an image: an affine map from patient coordinates to pixels, and the exposure.

    Attributes:
        size: Side of the image in pixels.
        matrix: Affine map from patient coordinates to the unit square, (2, 3).
        exposure: Factor of the attenuation.
        gamma: Factor of the exponent of the tone curve.
        noise: Standard deviation of the noise before blurring.
        seed: Seed of the noise.
    """

    size: int
    matrix: np.ndarray
    exposure: float
    gamma: float
    noise: float
    seed: int

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Patient coordinates (n, 2) to pixels."""
        return (points @ self.matrix[:, :2].T + self.matrix[:, 2]) * self.size

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Patient coordinates x and y of every pixel's centre, two arrays (size, size) float."""
        steps = (np.arange(self.size) + 0.5) / self.size
        x, y = np.meshgrid(steps, steps)
        inverse = np.linalg.inv(self.matrix[:, :2])
        shifted = np.stack([x - self.matrix[0, 2], y - self.matrix[1, 2]])
        x, y = np.tensordot(inverse, shifted, axes=1)
        return x, y


def make_patient(seed: int, enlarged_heart: bool) -> Patient:
    """Samples a patient. The cardiothoracic ratio is above 0.55 for an enlarged heart, below 0.50 for a normal one."""
    random = np.random.default_rng([seed, 1])
    width, height = random.normal(1, 0.035), random.normal(1, 0.035)
    scale = np.array([np.clip(width, 0.9, 1.1), np.clip(height, 0.9, 1.1)])
    anchor = np.array([MIDLINE, 0.42])

    def outline(points: list[tuple[float, float]]) -> np.ndarray:
        moved = np.array(points) + random.normal(0, 0.006, (len(points), 2))
        return smooth_outline((moved - anchor) * scale + anchor)

    right, left = outline(_RIGHT_LUNG), outline(_LEFT_LUNG)
    ratio = random.uniform(0.58, 0.66) if enlarged_heart else random.uniform(0.38, 0.47)
    thorax = left[:, 0].max() - right[:, 0].min()
    stretch = np.array([ratio * thorax / _HEART_WIDTH, scale[1] * random.uniform(0.97, 1.05)])
    control = (np.array(_HEART) - _HEART_CENTRE) * stretch + _HEART_CENTRE
    heart = smooth_outline((control - anchor) * np.array([1.0, scale[1]]) + anchor)
    heart[:, 0] += MIDLINE + 0.045 - (heart[:, 0].min() + heart[:, 0].max()) / 2
    correction = ratio * thorax / np.ptp(heart[:, 0])
    heart[:, 0] = (heart[:, 0] - MIDLINE) * correction + MIDLINE
    knob = (MIDLINE + random.uniform(0.055, 0.07), 0.42 + (0.305 - 0.42) * scale[1])
    return Patient(
        name=f"{seed}",
        left_lung=left,
        right_lung=right,
        heart=heart,
        width=float(scale[0]),
        rib_start=0.42 + (random.uniform(0.10, 0.125) - 0.42) * scale[1],
        rib_step=0.064 * scale[1] * random.uniform(0.96, 1.04),
        knob=knob,
        stomach=bool(random.random() < 0.6),
        density=float(random.uniform(0.88, 1.15)),
        vessels=int(random.integers(2**31)),
    )


def sample_acquisition(seed: int, size: int) -> Acquisition:
    """Samples position, exposure and noise of one image."""
    random = np.random.default_rng([seed, 2])
    angle = np.deg2rad(random.normal(0, 1.6))
    zoom = random.normal(1.0, 0.03)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([0.5, 0.5])
    shift = centre - turn @ centre + random.normal(0, 0.012, 2)
    matrix = np.column_stack([turn, shift])
    return Acquisition(
        size=size,
        matrix=matrix,
        exposure=float(random.uniform(0.9, 1.1)),
        gamma=float(random.uniform(0.85, 1.18)),
        noise=float(random.uniform(0.008, 0.018)),
        seed=seed,
    )
