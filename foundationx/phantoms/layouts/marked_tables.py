"""CSV, one column per class, and a table of boxes for every image."""

from __future__ import annotations

import os

from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts import label_columns_csv
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Adds a row for every image, and a table with its boxes."""
    fields = template_fields(context.options.marks_file)
    for image in context.images:
        cells = dict.fromkeys(fields, f"{image.number:05d}") | context.cells(image)
        context.row(image, "", {}, label_columns_csv.cells_of(context, image) | {name: cells[name] for name in fields})
        file = context.options.marks_file.format_map(cells)
        table = context.writer.table(os.path.normpath(f"{context.card.root}/{file}"))
        for item in context.classes:
            for number, row in enumerate(_rows(context, image, item)):
                table.put((item.name, number), row)
        if not table.rows:
            table.put(("empty",), dict.fromkeys(_columns(context), ""))
    context.add_filtered_rows()


def _columns(context: LayoutContext) -> list[str]:
    options = context.options
    certainty = [] if options.certainty_column is None else [options.certainty_column]
    return [*options.box_columns, *certainty, *(item.published[0] for item in context.classes)]


def _rows(context: LayoutContext, image: ImageTruth, item: ClassSpec) -> list[dict[str, str]]:
    """One row per box of a class."""
    options, rows = context.options, []
    for x1, y1, x2, y2 in context.boxes(image, item):
        layouts = {
            "xywh": (x1, y1, x2 - x1, y2 - y1),
            "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
            "xyxy": (x1, y1, x2, y2),
        }
        row = dict.fromkeys(_columns(context), "False") | {item.published[0]: "True"}
        row |= dict(zip(options.box_columns, map(str, layouts[options.box_layout]), strict=True))
        if options.certainty_column is not None:
            row[options.certainty_column] = f"{options.certain_from:g}"
        rows.append(row)
    return rows
