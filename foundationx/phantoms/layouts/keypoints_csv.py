"""CSV with named points: the middle of what is drawn for each."""

from __future__ import annotations

from typing import Any

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Adds a row for each point of an image of which something is said, or one with columns for all of them."""
    options = context.options
    for image in context.images:
        height, width = context.shape(image)
        common = dict(zip(options.size_columns, (str(width), str(height)), strict=False))
        common |= dict.fromkeys(options.spacing_columns, "0.5")
        cells = [(item, _cells(context, image, item)) for item in context.classes]
        if options.is_wide:
            context.row(image, "", common | {column: text for _, own in cells for column, text in own.items()})
            continue
        for index, (item, own) in enumerate((item, own) for item, own in cells if any(own.values())):
            named = {options.point_column: context.word(image, item)} if options.point_column else {}
            context.row(image, ("", index), common | named | own)
    context.add_filtered_rows()


def _cells(context: LayoutContext, image: ImageTruth, item: ClassSpec) -> dict[str, str]:
    """The cells of one point: x, y and, if there is such a column, whether it is visible."""
    options, state = context.options, context.state(image, item)
    place = context.centre(image, item) if state else None
    texts = [str(value) for value in place] if place is not None else ["", ""]
    return dict(zip(options.columns(context.word(image, item)), [*texts, _word(options, state)], strict=False))


def _word(options: Any, state: bool | None) -> str:
    """A cell that means a state."""
    wanted = {True: "visible", False: "absent", None: "unknown"}[state]
    return next((cell for cell, meaning in options.states.items() if meaning == wanted), "")
