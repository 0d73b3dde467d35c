"""JSON with one object per image that holds the outlines of its classes."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Writes all images; a class without outlines is left out of its image."""
    options = context.options
    content: dict[str, dict[str, Any]] = {}
    for image in context.images:
        key = context.name(image).replace("/", options.key_separator or "/")
        record: dict[str, Any] = {options.size_key: list(context.shape(image))} if options.size_key else {}
        for item in context.classes:
            if masks := context.instances(image, item):
                record[context.word(image, item)] = [outline(mask) for mask in masks]
        content[key] = record
    context.json(content)
