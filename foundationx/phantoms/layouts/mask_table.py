"""CSV, one row per mask file: image, class and mask."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath

import numpy as np

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts.mask_folder import mask_values
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()

FOLDER = "masks"
"""Folder of the masks inside the dataset's folder."""


def write(context: LayoutContext) -> None:
    """Writes a mask and a row for every image and class that is present."""
    options = context.options
    for image in context.images:
        stem = PurePosixPath(context.path(image)).stem
        for number, item in enumerate(context.classes, start=1):
            masks = context.instances(image, item)
            if not masks or image.unlabelled:
                continue
            path = posixpath.join(FOLDER, f"{stem}_{number}.png")
            context.mask(path, mask_values(np.logical_or.reduce(masks), options.positive, options.ignore))
            named = {options.class_column: context.word(image, item)} if options.class_column else {}
            context.row(image, number, {options.mask_column: path} | named)
    context.add_filtered_rows()
