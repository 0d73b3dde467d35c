"""CSV, one row a mask file: image, class and mask."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath

import numpy as np

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.layouts.mask_folder import mask_values
from foundationx.phantoms.slots import Manner

MANNER = Manner()

FOLDER = "masks"
"""Folder of the masks inside the dataset's, where the rows lead to."""


def write(request: Request) -> None:
    """Writes a mask and a row for every film and class that is present."""
    options = request.options
    for film in request.films:
        stem = PurePosixPath(request.path(film)).stem
        for number, item in enumerate(request.classes, start=1):
            masks = request.instances(film, item)
            if not masks or film.unread:
                continue
            path = posixpath.join(FOLDER, f"{stem}_{number}.png")
            request.mask(path, mask_values(np.logical_or.reduce(masks), options.positive, options.ignore))
            named = {options.class_column: request.word(film, item)} if options.class_column else {}
            request.row(film, number, {options.mask_column: path} | named)
    request.add_rows_that_do_not_count()
