"""One mask file per object, named by its image and class."""

from __future__ import annotations

from pathlib import PurePosixPath

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts.mask_folder import mask_values
from foundationx.phantoms.task_files import Capabilities, concrete

CAPABILITIES = Capabilities(scans=True)


def write(context: LayoutContext) -> None:
    """Writes a mask for every object of every image."""
    for task_file in context.task_files:
        options = task_file.options
        folders = [folder for pattern in options.masks for folder in concrete(pattern)]
        for folder in folders:
            context.folder(folder)
        for image in context.images:
            path = PurePosixPath(context.path(image))
            shape = context.drawn_shape(image) if options.scaled else context.shape(image)
            for item in [] if image.unlabelled else task_file.spec.classes:
                for number, mask in enumerate(context.instances(image, item, shape), start=1):
                    parts = {"image_stem": path.stem, "image_name": path.name, "class": context.word(image, item)}
                    name = options.mask_name.format(**parts, number=number)
                    values = mask_values(mask, options.positive, options.ignore)
                    context.mask(f"{folders[image.number % len(folders)]}/{name}", values)
