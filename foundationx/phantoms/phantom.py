"""One generated film with all that is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from foundationx.phantoms.anatomy import make_patient, take_film
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
    """A film and its truth.

    Attributes:
        image: (H, W) uint8.
        patient: number of the patient.
        findings: what is to be seen, in the order of ``FINDINGS``; empty for a normal film.
        instances: masks (H, W) bool of every instance of each finding and organ, by name.
        landmarks: named points, x and y in pixels.
    """

    image: np.ndarray
    patient: int
    findings: tuple[str, ...]
    instances: dict[str, list[np.ndarray]] = field(repr=False)
    landmarks: dict[str, tuple[float, float]]

    def mask(self, name: str) -> np.ndarray:
        """Union of the instances of a finding or organ, (H, W) bool."""
        found = self.instances.get(name)
        return np.logical_or.reduce(found) if found else np.zeros(self.image.shape, dtype=bool)

    def boxes(self, name: str) -> list[tuple[int, int, int, int]]:
        """x1 y1 x2 y2 of every instance: the bounds of its mask."""
        return [bounds(mask) for mask in self.instances.get(name, [])]


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 around the set pixels; x2 and y2 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _keep_apart(free: dict[str, np.ndarray], mask: np.ndarray) -> None:
    """Takes a finding and its surroundings out of where the next may be, so that each can be told from the others."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for lung in free.values():
        lung &= ~around


def draw_findings(patient: int) -> tuple[str, ...]:
    """What a patient has: nothing in 35 %, else one finding, or two in half of the cases."""
    random = np.random.default_rng([patient, 4])
    if random.random() < NORMAL_SHARE:
        return ()
    chosen = random.choice(len(FINDINGS), size=2 if random.random() < 0.5 else 1, replace=False)
    return tuple(FINDINGS[index] for index in sorted(chosen))


def make_phantom(patient: int, film: int = 0, size: int = 256, findings: Sequence[str] | None = None) -> Phantom:
    """Generates a film; the same arguments give the same bytes.

    Args:
        patient: number of the patient; films of one patient share anatomy and findings.
        film: number of the film; position, exposure and noise change.
        size: side in pixels.
        findings: names out of ``FINDINGS``; drawn for the patient where it is None.

    Raises:
        ValueError: a finding is unknown.
    """
    wanted = draw_findings(patient) if findings is None else tuple(findings)
    if unknown := set(wanted) - set(FINDINGS):
        raise ValueError(f"unknown findings {sorted(unknown)}; known: {', '.join(FINDINGS)}")
    anatomy = make_patient(patient, enlarged_heart=CARDIOMEGALY in wanted)
    taken = take_film(patient * 100 + film, size)
    total, masks = attenuation(anatomy, taken)
    organs = dict(zip(ORGANS, (masks["left_lung"], masks["right_lung"], masks["heart"]), strict=True))
    instances: dict[str, list[np.ndarray]] = {name: [mask] for name, mask in organs.items()}
    random = np.random.default_rng([patient, 5])
    if "Pneumothorax" in wanted:
        total, mask = add_pneumothorax(total, masks, taken, random, vessels(anatomy, taken))
        instances["Pneumothorax"] = [mask]
    if "Effusion" in wanted:
        total, mask = add_effusion(total, masks, taken, random)
        instances["Effusion"] = [mask]
    free = {name: mask.copy() for name, mask in masks.items()}
    for name, add, most in (("Consolidation", add_consolidation, 2), ("Nodule", add_nodule, 3)):
        if name in wanted:
            instances[name] = []
            for _ in range(random.integers(1, most + 1)):
                total, mask = add(total, free, taken, random)
                instances[name].append(mask)
                _keep_apart(free, mask)
    if CARDIOMEGALY in wanted:
        instances[CARDIOMEGALY] = [masks["heart"]]
    points = taken.to_pixels(np.array(list(anatomy.landmarks().values())))
    landmarks = {name: (float(x), float(y)) for name, (x, y) in zip(anatomy.landmarks(), points, strict=True)}
    return Phantom(expose(total, taken), patient, tuple(f for f in FINDINGS if f in wanted), instances, landmarks)
