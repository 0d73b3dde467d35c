"""Findings with known ground truth. Each changes the attenuation and returns the mask of the change."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from foundationx.phantoms.anatomy import Acquisition
from foundationx.phantoms.render import largest_part, soften

LUNG_FINDINGS = ("Nodule", "Consolidation", "Effusion", "Pneumothorax")
CARDIOMEGALY = "Cardiomegaly"
FINDINGS = (*LUNG_FINDINGS, CARDIOMEGALY)


def add_nodule(
    total: np.ndarray, masks: dict[str, np.ndarray], acquisition: Acquisition, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A round soft spot of 9 to 15 % of the image's width, inside a lung."""
    radius = random.uniform(0.045, 0.075) * acquisition.size
    cx, cy = _point_inside([masks["left_lung"], masks["right_lung"]], radius * 1.12 + 0.5, random)
    y, x = np.mgrid[: acquisition.size, : acquisition.size] + 0.5
    stretch, angle = random.uniform(0.88, 1.12), random.uniform(0, np.pi)
    dx, dy = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle), (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    distance = np.hypot(dx / stretch, dy * stretch) / radius
    body = np.sqrt(np.clip(1 - distance**2, 0, 1))
    total += random.uniform(0.34, 0.52) * gaussian_filter(body, 0.005 * acquisition.size)
    return total, distance <= 1


def add_consolidation(
    total: np.ndarray, masks: dict[str, np.ndarray], acquisition: Acquisition, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A fluffy opacity of several blobs with a ragged edge, cut off by the lung's edge."""
    lung = masks[random.choice(["left_lung", "right_lung"])]
    cx, cy = _point_inside([lung], 0.06 * acquisition.size, random)
    y, x = np.mgrid[: acquisition.size, : acquisition.size] + 0.5
    field = np.zeros(total.shape)
    for _ in range(random.integers(5, 9)):
        bx, by = random.normal([cx, cy], 0.042 * acquisition.size)
        radius = random.uniform(0.035, 0.06) * acquisition.size
        field = np.maximum(field, np.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * radius**2)))
    ragged = gaussian_filter(random.normal(0, 1, total.shape), 0.012 * acquisition.size)
    field = field + 0.16 * ragged / ragged.std()
    mask = largest_part((field > 0.5) & lung)
    cloud = gaussian_filter(np.clip(field, 0, 1.1) * soften(mask, acquisition, 0.012), 0.006 * acquisition.size)
    total += random.uniform(0.42, 0.60) * cloud
    return total, mask


def add_effusion(
    total: np.ndarray, masks: dict[str, np.ndarray], acquisition: Acquisition, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fluid that fills the costophrenic angle and rises along the chest wall (meniscus)."""
    name = random.choice(["left_lung", "right_lung"])
    lung = masks[name]
    rows, columns = np.nonzero(lung)
    bottom, height = rows.max(), np.ptp(rows)
    level = bottom - random.uniform(0.17, 0.36) * height
    wall = columns.max() if name == "left_lung" else columns.min()
    y, x = np.mgrid[: acquisition.size, : acquisition.size]
    climb = 0.16 * height * np.exp(-np.abs(x - wall) / (0.075 * acquisition.size))
    fluid = lung & (y > level - climb)
    total += 0.52 * gaussian_filter(soften(fluid, acquisition, 0.007), 0.004 * acquisition.size)
    return total, fluid


def add_pneumothorax(
    total: np.ndarray,
    masks: dict[str, np.ndarray],
    acquisition: Acquisition,
    random: np.random.Generator,
    vessel_map: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Free air between chest wall and a shrunken lung: darker, without vessels, behind a thin bright pleural line."""
    name = random.choice(["left_lung", "right_lung"])
    lung = masks[name]
    rows, columns = np.nonzero(lung)
    inner = columns.min() if name == "left_lung" else columns.max()
    low = rows.min() + 0.70 * np.ptp(rows)
    shrink = random.uniform(0.56, 0.72)
    matrix = np.array([[shrink, 0, (1 - shrink) * inner], [0, shrink, (1 - shrink) * low]])
    collapsed = cv2.warpAffine(lung.astype(np.uint8), matrix, lung.shape[::-1]).astype(bool)
    below = np.arange(acquisition.size)[:, None] > low
    free = largest_part(lung & ~collapsed & ~below)
    soft = soften(free, acquisition, 0.004)
    total -= soft * (vessel_map + 0.20)
    edge = cv2.morphologyEx(collapsed.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
    line = edge & cv2.dilate(free.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    total += 0.16 * gaussian_filter(line.astype(np.float32), 0.003 * acquisition.size)
    return total, free


def _point_inside(lungs: list[np.ndarray], margin: float, random: np.random.Generator) -> tuple[float, float]:
    """A point at least ``margin`` pixels inside one of the lungs; the innermost point if all are too narrow."""
    depth = np.max([cv2.distanceTransform(lung.astype(np.uint8), cv2.DIST_L2, 5) for lung in lungs], axis=0)
    rows, columns = np.nonzero(depth >= min(margin, depth.max()))
    chosen = random.integers(len(rows))
    return float(columns[chosen]) + 0.5, float(rows[chosen]) + 0.5
