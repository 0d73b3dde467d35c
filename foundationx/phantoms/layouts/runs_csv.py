"""CSV with run-length masks: one column per class, one row per object."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.layouts._outlines import runs
from foundationx.phantoms.task_files import Capabilities, TaskFile


def _size(options: Any) -> tuple[int, int] | None:
    """Height and width of the images, if all masks have one size, which is that of the images."""
    if options.scaled or not isinstance(options.height, int) or not isinstance(options.width, int):
        return None
    return options.height, options.width


CAPABILITIES = Capabilities(size=_size)


def write(context: LayoutContext) -> None:
    """Adds the rows of every image: as many as its class with most instances has, at least one."""
    for task_file in context.task_files:
        for image in context.images:
            for number, cells in enumerate(_rows(context, task_file, image)):
                context.row(image, number, cells)
    context.add_filtered_rows()


def _rows(context: LayoutContext, task_file: TaskFile, image: ImageTruth) -> list[dict[str, str]]:
    options = task_file.options
    columns: dict[str, list[str]] = {}
    for published, column in options.runs_columns.items():
        item = next(item for item in task_file.spec.classes if published in item.published)
        state = context.state(image, item)
        unknown = (image.unlabelled or state is None) and options.blank == "unknown"
        masks = [] if unknown else context.instances(image, item, _mask_shape(options))
        texts = [
            runs(mask, relative=options.relative, first=options.first, order=options.order)
            for mask in masks
            if mask.any()
        ]
        columns[column] = texts or ["" if unknown or not options.empty else options.empty[0]]
    height, width = context.shape(image)
    sizes = {options.height: height, options.width: width}
    further = {column: str(pixels) for column, pixels in sizes.items() if isinstance(column, str)}
    further |= context.quality(image)
    count = max(map(len, columns.values()))
    return [
        further | {column: _cell(texts, number, options) for column, texts in columns.items()}
        for number in range(count)
    ]


def _cell(texts: list[str], number: int, options: Any) -> str:
    """The text of one row. If another class has more instances, "none" is repeated and masks are not."""
    if number < len(texts):
        return texts[number]
    if texts[0] in options.empty:
        return texts[0]
    return "" if options.blank == "unknown" else texts[0]


def _mask_shape(options: Any) -> tuple[int, int] | None:
    """Height and width that the card fixes for masks that may differ in size from their image."""
    fixed = isinstance(options.height, int) and isinstance(options.width, int)
    return (options.height, options.width) if options.scaled and fixed else None
