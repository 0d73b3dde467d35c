"""Draws films with whatever classes a card has: as the phantom knows them, else as a mark of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from foundationx.phantoms.phantom import make_phantom

FINDINGS = {
    "nodule": "Nodule",
    "consolidation": "Consolidation",
    "pleural_effusion": "Effusion",
    "pneumothorax": "Pneumothorax",
    "cardiomegaly": "Cardiomegaly",
}
"""Concepts of the vocabulary that the phantom draws."""

ORGANS = {
    "left_lung": ("Left Lung",),
    "right_lung": ("Right Lung",),
    "heart": ("Heart",),
    "lung": ("Left Lung", "Right Lung"),
}
"""Concepts of the vocabulary that every phantom shows."""

LEAST_SIDE = 32
"""Pixels; smaller films show nothing."""

_BRIGHT, _FAINT = 70, 16
"""Grey values by which the mark of a finding and of a part of the body stands out."""


@dataclass(frozen=True)
class Picture:
    """A film and where everything in it is.

    Attributes:
        image: (H, W) uint8.
        instances: masks (H, W) bool of every instance, none of them empty, by key of the meaning.
    """

    image: np.ndarray
    instances: dict[str, list[np.ndarray]]

    def film(self, height: int, width: int) -> np.ndarray:
        """The image in another size."""
        return cv2.resize(self.image, (width, height), interpolation=cv2.INTER_LINEAR)

    def masks(self, key: str, height: int, width: int) -> list[np.ndarray]:
        """Masks (height, width) bool of the instances of a meaning; none where it is not in the picture."""
        size = (width, height)
        found = (mask.astype(np.uint8) for mask in self.instances.get(key, ()))
        return [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(bool) for mask in found]


def draw(patient: int, film: int, size: int, findings: Iterable[str], anatomy: Iterable[str]) -> Picture:
    """Draws a film; the same arguments give the same bytes.

    Args:
        patient: number of the patient, which draws the anatomy.
        film: number of the film.
        size: side in pixels, at least ``LEAST_SIDE``.
        findings: keys of what is to be seen.
        anatomy: keys of parts of the body.
    """
    findings = sorted(findings)
    known = [FINDINGS[key] for key in findings if key in FINDINGS]
    phantom = make_phantom(patient, film, size, known)
    image = phantom.image.copy()
    instances: dict[str, list[np.ndarray]] = {}
    for key in (*findings, *sorted(anatomy)):
        names = (FINDINGS[key],) if key in FINDINGS else ORGANS.get(key, ())
        masks = [mask for name in names for mask in phantom.instances.get(name, ()) if mask.any()]
        if not masks:
            mask = _ellipse(key, size, np.random.default_rng([patient, film, *_digest(key)[:4]]))
            strength = _BRIGHT if key in findings else _FAINT
            image = np.where(mask, np.minimum(image.astype(np.int16) + strength, 255), image).astype(np.uint8)
            masks = [mask]
        instances[key] = masks
    return Picture(image, instances)


def _ellipse(key: str, size: int, random: np.random.Generator) -> np.ndarray:
    """(size, size) bool: a spot that is near the same place in all films, and elsewhere for other keys."""
    across, down = (byte / 255 for byte in _digest(key)[:2])
    centre = np.array([0.20 + 0.60 * across, 0.22 + 0.50 * down]) + random.uniform(-0.03, 0.03, 2)
    axes = np.maximum(random.uniform(0.05, 0.09, 2) * size, 2)
    canvas = np.zeros((size, size), dtype=np.uint8)
    points = [tuple(round(value) for value in pair) for pair in (centre * size, axes)]
    cv2.ellipse(canvas, points[0], points[1], float(random.uniform(0, 180)), 0, 360, 1, -1)
    return canvas.astype(bool)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
