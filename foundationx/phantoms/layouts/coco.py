"""COCO JSON with boxes and outlines; images without annotations are listed too."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Writes all images, a category for every published name, and an annotation for every instance."""
    names = [name for item in context.classes for name in item.published] + list(context.options.ignore)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in context.images:
        height, width = context.shape(image)
        entry = {"id": image.number, "file_name": context.name(image), "width": width, "height": height}
        images.append(context.cells(image) | entry)
        for item in context.classes:
            for mask, box in zip(context.instances(image, item), context.boxes(image, item), strict=True):
                ids = {"id": len(annotations) + 1, "image_id": image.number}
                annotations.append(ids | {"category_id": numbers[context.word(image, item)]} | _shape(mask, box))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    context.json({"images": images, "annotations": annotations, "categories": categories})


def _shape(mask: np.ndarray, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    points = outline(mask)
    area = float(cv2.contourArea(np.array(points, dtype=np.float32)))
    flat = [value for point in points for value in point]
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0, "segmentation": [flat]}
