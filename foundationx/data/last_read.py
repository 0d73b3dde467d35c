"""Reads images for several heads that look at one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foundationx.data.pixels.read import read_grey


class LastRead:
    """``read_grey``, with the last image kept: heads that ask for one file in turn have it decoded once.

    What it returns is shared and must not be written to.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._image: np.ndarray | None = None

    def __call__(self, path: Path) -> np.ndarray:
        """Grey image (H, W) uint8. Raises DataError as ``read_grey``."""
        if path != self._path or self._image is None:
            self._image, self._path = read_grey(path), path
            self._image.flags.writeable = False
        return self._image
