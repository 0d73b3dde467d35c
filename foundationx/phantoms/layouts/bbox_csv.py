"""CSV, one row per box; images without boxes have a row if the card describes such rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts.label_columns_csv import READERS
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Adds a row for every box of every image and reader."""
    options = context.options
    readers = READERS if options.reader_column is not None else ("",)
    for image in context.images:
        height, width = context.shape(image)
        size = dict(zip(options.size_columns, (str(width), str(height)), strict=False))
        if options.boxes_column is not None:
            context.row(image, "", size | {options.boxes_column: _list(context, image)})
            continue
        for number, reader in enumerate(readers):
            who = {options.reader_column: reader} if reader else {}
            rows = _boxes(context, image, doubtful=bool(reader) and number == 0)
            if not rows and options.empty_column is not None:
                rows = [_empty_row(context)]
            for index, row in enumerate(rows):
                context.row(image, (reader, index), who | size | row)
    context.add_filtered_rows()


def _boxes(context: LayoutContext, image: ImageTruth, doubtful: bool) -> list[dict[str, str]]:
    """One row per box. A doubtful finding has a box in the corner, apart from all others."""
    options, rows = context.options, []
    for item in context.classes:
        boxes: Sequence[tuple[float, ...]] = context.boxes(image, item)
        if doubtful and context.state(image, item) is None:
            height, width = context.shape(image)
            boxes = [(0, 0, width // 4, height // 4)]
        for x1, y1, x2, y2 in boxes:
            row = dict(zip(options.box_columns, map(str, _numbers(options, (x1, y1, x2, y2))), strict=False))
            if options.empty_column is not None:
                row[options.empty_column] = next(str(n) for n in count(1) if str(n) not in options.empty_values)
            if options.class_column is not None:
                row[options.class_column] = context.word(image, item)
            rows.append(row)
    return rows


def _list(context: LayoutContext, image: ImageTruth) -> str:
    """All boxes of an image in one cell."""
    boxes = [box for item in context.classes for box in context.boxes(image, item)]
    keys = context.options.box_keys
    listed = [dict(zip(keys, _numbers(context.options, box), strict=True)) for box in boxes]
    return str(listed) if listed else ""


def _numbers(options: Any, box: Sequence[float]) -> list[float]:
    """The numbers of a box as published; with one column for both sides, the shorter side."""
    x1, y1, x2, y2 = box
    sides = [x2 - x1, y2 - y1]
    if options.box_columns is not None and options.box_columns[2] == options.box_columns[3]:
        sides = [min(sides)] * 2
    sides = [side * (options.pixel_spacing or 1) for side in sides]
    layouts = {"xywh": [x1, y1, *sides], "cxcywh": [(x1 + x2) / 2, (y1 + y2) / 2, *sides], "xyxy": [x1, y1, x2, y2]}
    return [round(float(number), 2) for number in layouts[options.box_layout]]


def _empty_row(context: LayoutContext) -> dict[str, str]:
    options = context.options
    row = dict.fromkeys(options.box_columns, "")
    if options.class_column is not None:
        row[options.class_column] = ""
    return row | {options.empty_column: options.empty_values[0]}
