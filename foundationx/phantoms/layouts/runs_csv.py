"""CSV with run-length masks: one column a class, one row an object."""

from __future__ import annotations

from foundationx.phantoms.layouts._outlines import runs
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner, Slot
from foundationx.phantoms.truth import Film


def _size(options: object) -> tuple[int, int] | None:
    """Height and width of the images where the card says that all masks have one size, which is the images'."""
    if options.scaled or not isinstance(options.height, int) or not isinstance(options.width, int):
        return None
    return options.height, options.width


MANNER = Manner(size=_size)


def write(request: Request) -> None:
    """Adds the rows of every film: as many as its class with most instances has, one where it has none."""
    for slot in request.slots:
        for film in request.films:
            for number, cells in enumerate(_rows(request, slot, film)):
                request.row(film, number, cells)
    request.add_rows_that_do_not_count()


def _rows(request: Request, slot: Slot, film: Film) -> list[dict[str, str]]:
    options = slot.options
    columns: dict[str, list[str]] = {}
    for published, column in options.runs_columns.items():
        item = next(item for item in slot.spec.classes if published in item.published)
        state = request.state(film, item)
        unknown = (film.unread or state is None) and options.blank == "unknown"
        masks = [] if unknown else request.instances(film, item, _mask_shape(options))
        texts = [
            runs(mask, relative=options.relative, first=options.first, order=options.order)
            for mask in masks
            if mask.any()
        ]
        columns[column] = texts or ["" if unknown or not options.empty else options.empty[0]]
    height, width = request.shape(film)
    sizes = {options.height: height, options.width: width}
    further = {column: str(pixels) for column, pixels in sizes.items() if isinstance(column, str)}
    if options.quality_column is not None:
        # The last film's masks are too poor to count.
        poor = film is request.films[-1] and len(request.films) > 2
        further[options.quality_column] = f"{options.quality_least + (-0.1 if poor else 0.2):.3f}"
    count = max(map(len, columns.values()))
    return [
        further | {column: _cell(texts, number, options) for column, texts in columns.items()}
        for number in range(count)
    ]


def _cell(texts: list[str], number: int, options: object) -> str:
    """The text of one row. Where another class has more instances, "none" is said again and masks are not."""
    if number < len(texts):
        return texts[number]
    if texts[0] in options.empty:
        return texts[0]
    return "" if options.blank == "unknown" else texts[0]


def _mask_shape(options: object) -> tuple[int, int] | None:
    """Height and width that the card fixes for masks that may have another size than their image."""
    fixed = isinstance(options.height, int) and isinstance(options.width, int)
    return (options.height, options.width) if options.scaled and fixed else None
