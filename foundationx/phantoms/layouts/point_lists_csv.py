"""CSV with the points of an image, or of a line in it, in one cell."""

from __future__ import annotations

from foundationx.core.geometry.point_groups import group_of
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Adds a row for each line of an image, or one with all points."""
    options = context.options
    for image in context.images:
        height, width = context.shape(image)
        common = dict(zip(options.size_columns, (str(width), str(height)), strict=False))
        common |= dict.fromkeys(options.spacing_columns, "0.5") | context.quality(image)
        groups: dict[str, list[ClassSpec]] = {}
        for item in context.classes:
            groups.setdefault(group_of(context.word(image, item)), []).append(item)
        places = {name: [context.centre(image, item) for item in items] for name, items in groups.items()}
        points = {name: [place for place in own if place is not None] for name, own in places.items()}
        if options.class_column is None:
            listed = [point for name in options.groups for point in points[name]]
            context.row(image, 0, common | {options.points_column: str(listed)})
            continue
        for name, line in points.items():
            if len(line) > 1:
                context.row(image, name, common | {options.class_column: name, options.points_column: str(line)})
    context.add_filtered_rows()
