"""COCO JSON with boxes and outlines; films without annotations are listed too."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner

MANNER = Manner()


def write(request: Request) -> None:
    """Writes all films, a category for every published name, and an annotation for every instance."""
    names = [name for item in request.classes for name in item.published] + list(request.options.ignore)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for film in request.films:
        height, width = request.shape(film)
        place = {"id": film.number, "file_name": request.name(film), "width": width, "height": height}
        images.append(request.cells(film) | place)
        for item in request.classes:
            for mask, box in zip(request.instances(film, item), request.boxes(film, item), strict=True):
                ids = {"id": len(annotations) + 1, "image_id": film.number}
                annotations.append(ids | {"category_id": numbers[request.word(film, item)]} | _shape(mask, box))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    request.json({"images": images, "annotations": annotations, "categories": categories})


def _shape(mask: np.ndarray, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    points = outline(mask)
    area = float(cv2.contourArea(np.array(points, dtype=np.float32)))
    flat = [value for point in points for value in point]
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0, "segmentation": [flat]}
