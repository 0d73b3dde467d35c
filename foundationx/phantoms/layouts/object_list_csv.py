"""CSV, one row per image, all its objects in one cell: rectangles, ellipses and polygons in turn."""

from __future__ import annotations

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.readers.object_list_csv import ELLIPSE, POLYGON, RECTANGLE
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import outline
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Adds a row for every image; its cell is empty if there is no object."""
    for image in context.images:
        objects = [text for item in context.classes for text in _objects(context, image, item)]
        context.row(image, "", {}, {context.options.objects_column: ";".join(objects)})
    context.add_filtered_rows()


def _objects(context: LayoutContext, image: ImageTruth, item: ClassSpec) -> list[str]:
    texts = []
    for mask, box in zip(context.instances(image, item), context.boxes(image, item), strict=True):
        kind = (RECTANGLE, ELLIPSE, POLYGON)[image.number % 3]
        points = [value for point in outline(mask) for value in point] if kind == POLYGON else box
        texts.append(" ".join([kind, *(f"{float(value):g}" for value in points)]))
    return texts
