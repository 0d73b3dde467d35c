"""One folder of images per class: the paths of the images encode the labels."""

from __future__ import annotations

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities, concrete

CAPABILITIES = Capabilities(
    scans=True, label_in="folder", one_label=lambda options: True, none=lambda options: bool(options.negative)
)


def write(context: LayoutContext) -> None:
    """Creates the folders of all classes, with or without images."""
    for images in context.task_file.part.images or ():
        for folder in concrete(images):
            for item in context.classes:
                context.folder(f"{folder}/{item.published[0]}")
