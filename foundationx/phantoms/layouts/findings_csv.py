"""CSV, one row per image, all its findings joined in one column."""

from __future__ import annotations

from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities(
    # Without a name for "none", every image has exactly one class (Normal, Pneumonia, COVID-19).
    one_label=lambda options: not options.negative and options.blank != "negative",
    none=lambda options: bool(options.negative) or options.blank == "negative",
)


def write(context: LayoutContext) -> None:
    """Adds a row for every image, and a second row for one of them if the card allows several rows per image."""
    options = context.options
    for image in context.images:
        labels = {options.findings_column: _cell(context, image)}
        context.row(image, "", {}, labels)
        if options.repeated == "same" and image is context.images[-1]:
            context.row(image, "again", {}, labels)
    context.add_filtered_rows()


def _cell(context: LayoutContext, image: ImageTruth) -> str:
    options = context.options
    if image.unlabelled and (options.unknown or options.blank == "unknown"):
        return options.unknown[0] if options.unknown else ""
    names = [context.word(image, item) for item in context.present(image)]
    if not names:
        names = [*options.negative[:1]]
    elif options.ignore and image.number % 3 == 0:
        names.append(options.ignore[0])
    return options.separator.join(names)
