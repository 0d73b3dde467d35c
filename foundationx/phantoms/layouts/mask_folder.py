"""One mask file per image and class, in one folder of masks per class."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities, concrete

CAPABILITIES = Capabilities(scans=True)

FOREGROUND = 255
"""Pixel value of a class if the card accepts any value but 0."""


def write(context: LayoutContext) -> None:
    """Writes a mask for every image and class: empty if the class is absent, none if that is unknown."""
    for task_file in context.task_files:
        options = task_file.options
        for published, pattern in options.folders.items():
            item = next(item for item in task_file.spec.classes if published in item.published)
            folders = concrete(pattern)
            for image in context.images:
                folder = folders[image.number % len(folders)]
                context.folder(folder)
                if image.unlabelled or context.state(image, item) is None:
                    continue
                stem = PurePosixPath(context.path(image)).stem
                name = options.mask_name.format(image_stem=stem, image_name=PurePosixPath(context.path(image)).name)
                shape = context.drawn_shape(image) if options.scaled else context.shape(image)
                united = np.logical_or.reduce([np.zeros(shape, dtype=bool), *context.instances(image, item, shape)])
                context.mask(f"{folder}/{name}", mask_values(united, options.positive, options.ignore))


def mask_values(mask: np.ndarray, positive: int | None, ignore: int | None) -> np.ndarray:
    """A mask (H, W) bool as published, uint8; a corner is marked as unknown if the card has a value for that."""
    values = np.where(mask, FOREGROUND if positive is None else positive, 0).astype(np.uint8)
    if positive == 0:
        values = np.where(mask, 0, FOREGROUND).astype(np.uint8)
    if ignore is not None:
        corner = np.zeros_like(mask)
        corner[: max(1, mask.shape[0] // 12), : max(1, mask.shape[1] // 12)] = True
        values[corner & ~mask] = ignore
    return values
