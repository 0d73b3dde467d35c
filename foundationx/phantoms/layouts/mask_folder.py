"""One mask file an image and class, in one folder of masks a class."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner, concrete

MANNER = Manner(scans=True)

FOREGROUND = 255
"""Pixel of a class where the card lets any but 0 stand for it."""


def write(request: Request) -> None:
    """Writes a mask for every film and class: empty where the class is absent, none where that is not known."""
    for slot in request.slots:
        options = slot.options
        for published, pattern in options.folders.items():
            item = next(item for item in slot.spec.classes if published in item.published)
            folders = concrete(pattern)
            for film in request.films:
                folder = folders[film.number % len(folders)]
                request.folder(folder)
                if film.unread or request.state(film, item) is None:
                    continue
                stem = PurePosixPath(request.path(film)).stem
                name = options.mask_name.format(image_stem=stem, image_name=PurePosixPath(request.path(film)).name)
                shape = request.drawn_shape(film) if options.scaled else request.shape(film)
                united = np.logical_or.reduce([np.zeros(shape, dtype=bool), *request.instances(film, item, shape)])
                request.mask(f"{folder}/{name}", mask_values(united, options.positive, options.ignore))


def mask_values(mask: np.ndarray, positive: int | None, ignore: int | None) -> np.ndarray:
    """A mask (H, W) bool as it is published, uint8; a corner is unknown where the card has a value for that."""
    values = np.where(mask, FOREGROUND if positive is None else positive, 0).astype(np.uint8)
    if positive == 0:
        values = np.where(mask, 0, FOREGROUND).astype(np.uint8)
    if ignore is not None:
        corner = np.zeros_like(mask)
        corner[: max(1, mask.shape[0] // 12), : max(1, mask.shape[1] // 12)] = True
        values[corner & ~mask] = ignore
    return values
