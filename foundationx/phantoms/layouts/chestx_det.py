"""ChestX-Det JSON: a record an image with names, boxes and polygons."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner
from foundationx.phantoms.truth import Film

MANNER = Manner()


def write(request: Request) -> None:
    """Writes a record for every film."""
    request.json([_record(request, film) for film in request.films])


def _record(request: Request, film: Film) -> dict[str, Any]:
    record: dict[str, Any] = {"file_name": request.name(film), "syms": [], "boxes": [], "polygons": []}
    for item in request.classes:
        for mask, box in zip(request.instances(film, item), request.boxes(film, item), strict=True):
            record["syms"].append(request.word(film, item))
            record["boxes"].append([float(value) for value in box])
            record["polygons"].append(outline(mask))
    return request.cells(film) | record
