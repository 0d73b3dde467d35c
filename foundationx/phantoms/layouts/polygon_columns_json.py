"""JSON by columns: one column of images, one column of polygons per class."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Writes all images; an image without a class has no polygon for it."""
    options = context.options
    content: dict[str, dict[str, Any]] = {options.image_column: {}}
    content |= {name: {} for item in context.classes for name in item.published}
    for number, image in enumerate(context.images):
        name = context.path(image) if options.strip_folders else context.name(image)
        content[options.image_column][str(number)] = name
        for item in context.classes:
            masks = [] if image.unlabelled else context.instances(image, item)
            points = [{"x": x, "y": y} for x, y in outline(masks[0])] if masks else None
            content[item.published[0]][str(number)] = points
    context.json(content)
