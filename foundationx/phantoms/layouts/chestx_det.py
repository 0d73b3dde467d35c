"""ChestX-Det JSON: one record per image with names, boxes and polygons."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Writes a record for every image."""
    context.json([_record(context, image) for image in context.images])


def _record(context: LayoutContext, image: ImageTruth) -> dict[str, Any]:
    record: dict[str, Any] = {"file_name": context.name(image), "syms": [], "boxes": [], "polygons": []}
    for item in context.classes:
        for mask, box in zip(context.instances(image, item), context.boxes(image, item), strict=True):
            record["syms"].append(context.word(image, item))
            record["boxes"].append([float(value) for value in box])
            record["polygons"].append(outline(mask))
    return context.cells(image) | record
