"""One generated radiograph with its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from foundationx.phantoms.anatomy import make_patient, sample_acquisition
from foundationx.phantoms.findings import (
    CARDIOMEGALY,
    FINDINGS,
    add_consolidation,
    add_effusion,
    add_nodule,
    add_pneumothorax,
)
from foundationx.phantoms.render import attenuation, expose, vessels

ORGANS = ("Left Lung", "Right Lung", "Heart")
NORMAL_SHARE = 0.35


@dataclass(frozen=True)
class Phantom:
    """A radiograph and its ground truth.

    Attributes:
        image: Grey values, (H, W) uint8.
        patient: Number of the patient.
        findings: Findings in the order of ``FINDINGS``; empty for a normal image.
        instances: Masks (H, W) bool of every instance of each finding and organ, by name.
        landmarks: Named points, x and y in pixels.
    """

    image: np.ndarray
    patient: int
    findings: tuple[str, ...]
    instances: dict[str, list[np.ndarray]] = field(repr=False)
    landmarks: dict[str, tuple[float, float]]

    def mask(self, name: str) -> np.ndarray:
        """Union of the instances of a finding or organ, (H, W) bool."""
        masks = self.instances.get(name)
        return np.logical_or.reduce(masks) if masks else np.zeros(self.image.shape, dtype=bool)

    def boxes(self, name: str) -> list[tuple[int, int, int, int]]:
        """x1 y1 x2 y2 of every instance: the bounds of its mask."""
        return [bounds(mask) for mask in self.instances.get(name, [])]


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 around the set pixels; x2 and y2 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _keep_apart(free: dict[str, np.ndarray], mask: np.ndarray) -> None:
    """Removes a finding and its surroundings from the area of the next, so that findings do not touch."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for lung in free.values():
        lung &= ~around


def draw_findings(patient: int) -> tuple[str, ...]:
    """Samples the findings of a patient: none in 35 % of patients, otherwise one or, in half of them, two."""
    random = np.random.default_rng([patient, 4])
    if random.random() < NORMAL_SHARE:
        return ()
    indices = random.choice(len(FINDINGS), size=2 if random.random() < 0.5 else 1, replace=False)
    return tuple(FINDINGS[index] for index in sorted(indices))


def make_phantom(patient: int, number: int = 0, size: int = 256, findings: Sequence[str] | None = None) -> Phantom:
    """Generates a radiograph; the same arguments give the same bytes.

    Args:
        patient: Number of the patient; all images of a patient share anatomy and findings.
        number: Number of the patient's image; determines position, exposure and noise.
        size: Side in pixels.
        findings: Names from ``FINDINGS``; None for those of the patient.

    Raises:
        ValueError: A finding is unknown.
    """
    chosen = draw_findings(patient) if findings is None else tuple(findings)
    if unknown := set(chosen) - set(FINDINGS):
        raise ValueError(f"unknown findings {sorted(unknown)}; known: {', '.join(FINDINGS)}")
    anatomy = make_patient(patient, enlarged_heart=CARDIOMEGALY in chosen)
    acquisition = sample_acquisition(patient * 100 + number, size)
    vessel_map = vessels(anatomy, acquisition)
    total, masks = attenuation(anatomy, acquisition, vessel_map)
    organs = dict(zip(ORGANS, (masks["left_lung"], masks["right_lung"], masks["heart"]), strict=True))
    instances: dict[str, list[np.ndarray]] = {name: [mask] for name, mask in organs.items()}
    random = np.random.default_rng([patient, 5])
    if "Pneumothorax" in chosen:
        total, mask = add_pneumothorax(total, masks, acquisition, random, vessel_map)
        instances["Pneumothorax"] = [mask]
    if "Effusion" in chosen:
        total, mask = add_effusion(total, masks, acquisition, random)
        instances["Effusion"] = [mask]
    free = {name: mask.copy() for name, mask in masks.items()}
    for name, add, most in (("Consolidation", add_consolidation, 2), ("Nodule", add_nodule, 3)):
        if name in chosen:
            instances[name] = []
            for _ in range(random.integers(1, most + 1)):
                total, mask = add(total, free, acquisition, random)
                instances[name].append(mask)
                _keep_apart(free, mask)
    if CARDIOMEGALY in chosen:
        instances[CARDIOMEGALY] = [masks["heart"]]
    points = acquisition.to_pixels(np.array(list(anatomy.landmarks().values())))
    landmarks = {name: (float(x), float(y)) for name, (x, y) in zip(anatomy.landmarks(), points, strict=True)}
    return Phantom(expose(total, acquisition), patient, tuple(f for f in FINDINGS if f in chosen), instances, landmarks)
