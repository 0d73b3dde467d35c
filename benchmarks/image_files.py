"""Image files for benchmarks that read them: 8-bit grey PNGs with noise, of the size of published radiographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from foundationx.core.types import Annotations, Task, TaskKey

KEY = TaskKey("images", Task.CLASSIFICATION)


def write_images(folder: Path, count: int, side: int) -> Annotations:
    """Writes ``count`` square images of ``side`` pixels; returns their annotations, all of one class."""
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        coarse = cv2.resize(random.integers(0, 200, (40, 40), np.uint8), (side, side))
        cv2.imwrite(str(folder / name), coarse + random.integers(0, 8, (side, side), np.uint8))
    labels = np.ones((count, 1), np.float32)
    return Annotations(KEY, ("one",), names, names, names, labels, [None] * count)
