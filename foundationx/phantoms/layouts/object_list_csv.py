"""CSV, one row an image, all its objects in one cell: rectangles, ellipses and polygons by turns."""

from __future__ import annotations

from foundationx.datasets.readers.object_list_csv import ELLIPSE, POLYGON, RECTANGLE
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner
from foundationx.phantoms.truth import Film

MANNER = Manner()


def write(request: Request) -> None:
    """Adds a row for every film; its cell is empty where there is no object."""
    for film in request.films:
        objects = [text for item in request.classes for text in _objects(request, film, item)]
        request.row(film, "", {}, {request.options.objects_column: ";".join(objects)})
    request.add_rows_that_do_not_count()


def _objects(request: Request, film: Film, item: object) -> list[str]:
    texts = []
    for mask, box in zip(request.instances(film, item), request.boxes(film, item), strict=True):
        kind = (RECTANGLE, ELLIPSE, POLYGON)[film.number % 3]
        points = [value for point in outline(mask) for value in point] if kind == POLYGON else box
        texts.append(" ".join([kind, *(f"{float(value):g}" for value in points)]))
    return texts
