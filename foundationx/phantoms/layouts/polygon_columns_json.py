"""JSON by columns: one column of images, one column of polygons a class."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner

MANNER = Manner()


def write(request: Request) -> None:
    """Writes all films; a class that a film lacks has no polygon there."""
    options = request.options
    content: dict[str, dict[str, Any]] = {options.image_column: {}}
    content |= {name: {} for item in request.classes for name in item.published}
    for number, film in enumerate(request.films):
        name = request.path(film) if options.strip_folders else request.name(film)
        content[options.image_column][str(number)] = name
        for item in request.classes:
            masks = [] if film.unread else request.instances(film, item)
            points = [{"x": x, "y": y} for x, y in outline(masks[0])] if masks else None
            content[item.published[0]][str(number)] = points
    request.json(content)
