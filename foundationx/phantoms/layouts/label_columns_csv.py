"""CSV, one column per class, one row per image or per reader of it."""

from __future__ import annotations

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()

READERS = ("R1", "R2", "R3")
"""Radiologists, if the card has a column of readers; doubtful findings are reported by the first one only."""


def write(context: LayoutContext) -> None:
    """Adds a row for every image, or for every reader of it."""
    options = context.options
    columns = {item.published: _column(context, item) for item in context.classes}
    for image in context.images:
        if options.reader_column is None:
            context.row(image, "", {}, cells_of(context, image))
            continue
        for number, reader in enumerate(READERS):
            seen = {columns[item.published]: _seen(context, image, item, number) for item in context.classes}
            context.row(image, reader, {options.reader_column: reader} | seen)
    context.add_filtered_rows()


def cells_of(context: LayoutContext, image: ImageTruth) -> dict[str, str]:
    """Cells of all classes of an image; a file may have classes in columns and others as digits of one column."""
    cells: dict[str, str] = {}
    for task_file in context.task_files:
        options, classes = task_file.options, task_file.spec.classes
        if options.digits_column is not None:
            present = [bool(context.state(image, item)) for item in classes]
            digits = [f"{options.present_from if one else options.absent_to:g}" for one in present]
            cells[options.digits_column] = "".join(digits).lstrip("0") or "0"
        elif options.several_columns == "mean":
            cells |= {name: _cell(context, image, item) for item in classes for name in item.published}
        else:
            cells |= {_column(context, item): _cell(context, image, item) for item in classes}
    return cells


def _column(context: LayoutContext, item: ClassSpec) -> str:
    """The column of a class: one that another card has added, if there is one."""
    return next((name for name in item.published if context.table.has(name)), item.published[0])


def _seen(context: LayoutContext, image: ImageTruth, item: ClassSpec, reader: int) -> str:
    state = context.state(image, item)
    return _written(context, bool(state or (state is None and reader == 0)))


def _cell(context: LayoutContext, image: ImageTruth, item: ClassSpec) -> str:
    """1, 0, the number for "uncertain" if the card defines one, or nothing."""
    options, state = context.options, context.state(image, item)
    uncertain = f"{options.uncertain_value:g}" if "uncertain" in options.model_fields_set else None
    if image.unlabelled and options.blank == "unknown":
        return ""
    if state is None:
        return uncertain or ("" if options.blank == "unknown" else _written(context, False))
    if not state and options.blank == "negative" and image.number % 2:
        return ""
    return _written(context, bool(state))


def _written(context: LayoutContext, present: bool) -> str:
    """How the card's cells say present or absent: a word, a grade, 1 or 0."""
    options, meaning = context.options, "present" if present else "absent"
    word = next((word for word, said in options.words.items() if said == meaning), None)
    if word is not None:
        return str(word)
    if options.present_from is None:
        return "1" if present else "0"
    return f"{options.present_from if present else options.absent_to:g}"
