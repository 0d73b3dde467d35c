"""Draws images with the classes of a card: findings that the phantom knows, and a bright ellipse for any other."""

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
"""Least side of an image in pixels; smaller ones show nothing."""

_BRIGHT, _FAINT = 70, 16
"""Brightness in grey values of the ellipse of a finding and of a part of the body."""


@dataclass(frozen=True)
class DrawnImage:
    """An image with the masks of its findings and organs.

    Attributes:
        image: Grey values, (H, W) uint8.
        instances: Masks (H, W) bool of every instance, none empty, by concept key.
    """

    image: np.ndarray
    instances: dict[str, list[np.ndarray]]

    def resized(self, height: int, width: int) -> np.ndarray:
        """The image in another size."""
        return np.asarray(cv2.resize(self.image, (width, height), interpolation=cv2.INTER_LINEAR))

    def masks(self, key: str, height: int, width: int) -> list[np.ndarray]:
        """Masks (height, width) bool of the instances of a concept key; none if it is not in the image."""
        size = (width, height)
        masks = (mask.astype(np.uint8) for mask in self.instances.get(key, ()))
        return [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(bool) for mask in masks]


def draw_image(patient: int, number: int, size: int, findings: Iterable[str], anatomy: Iterable[str]) -> DrawnImage:
    """Draws an image; the same arguments give the same bytes.

    Args:
        patient: Number of the patient; determines the anatomy.
        number: Number of the image.
        size: Side in pixels, at least ``LEAST_SIDE``.
        findings: Concept keys of the findings.
        anatomy: Concept keys of parts of the body.
    """
    findings = sorted(findings)
    known = [FINDINGS[key] for key in findings if key in FINDINGS]
    phantom = make_phantom(patient, number, size, known)
    image = phantom.image.copy()
    instances: dict[str, list[np.ndarray]] = {}
    for key in (*findings, *sorted(anatomy)):
        names = (FINDINGS[key],) if key in FINDINGS else ORGANS.get(key, ())
        masks = [mask for name in names for mask in phantom.instances.get(name, ()) if mask.any()]
        if not masks:
            mask = _ellipse(key, size, np.random.default_rng([patient, number, *_digest(key)[:4]]))
            strength = _BRIGHT if key in findings else _FAINT
            image = np.where(mask, np.minimum(image.astype(np.int16) + strength, 255), image).astype(np.uint8)
            masks = [mask]
        instances[key] = masks
    return DrawnImage(image, instances)


def _ellipse(key: str, size: int, random: np.random.Generator) -> np.ndarray:
    """(size, size) bool: a spot that is near the same position in all images, and elsewhere for other keys."""
    across, down = (byte / 255 for byte in _digest(key)[:2])
    centre = np.array([0.20 + 0.60 * across, 0.22 + 0.50 * down]) + random.uniform(-0.03, 0.03, 2)
    axes = np.maximum(random.uniform(0.05, 0.09, 2) * size, 2)
    canvas = np.zeros((size, size), dtype=np.uint8)
    points = [tuple(round(value) for value in pair) for pair in (centre * size, axes)]
    cv2.ellipse(canvas, points[0], points[1], float(random.uniform(0, 180)), 0, 360, 1, -1)
    return canvas.astype(bool)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
