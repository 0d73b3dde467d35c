"""CSV, one row a box, with rows that say "no box here" where the card knows them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.layouts.label_columns_csv import READERS
from foundationx.phantoms.slots import Manner
from foundationx.phantoms.truth import Film

MANNER = Manner()


def write(request: Request) -> None:
    """Adds a row for every box of every film and reader; films without box have a row only where the card has one."""
    options = request.options
    readers = READERS if options.reader_column is not None else ("",)
    for film in request.films:
        for number, reader in enumerate(readers):
            who = {options.reader_column: reader} if reader else {}
            rows = _boxes(request, film, doubtful=bool(reader) and number == 0)
            if not rows and options.empty_column is not None:
                rows = [_empty_row(request)]
            for place, row in enumerate(rows):
                request.row(film, (reader, place), who | row)
    request.add_rows_that_do_not_count()


def _boxes(request: Request, film: Film, doubtful: bool) -> list[dict[str, str]]:
    """A row a box. What is doubtful has a box of its own, not where anything else is."""
    options, rows = request.options, []
    for item in request.classes:
        boxes: Sequence[tuple[float, ...]] = request.boxes(film, item)
        if doubtful and request.state(film, item) is None:
            height, width = request.shape(film)
            boxes = [(0, 0, width // 4, height // 4)]
        for x1, y1, x2, y2 in boxes:
            numbers = (x1, y1, x2 - x1, y2 - y1) if options.box_layout == "xywh" else (x1, y1, x2, y2)
            row = dict(zip(options.box_columns, (f"{float(number):.1f}" for number in numbers), strict=True))
            if options.empty_column is not None:
                row[options.empty_column] = next(str(n) for n in count(1) if str(n) not in options.empty_values)
            if options.class_column is not None:
                row[options.class_column] = request.word(film, item)
            rows.append(row)
    return rows


def _empty_row(request: Request) -> dict[str, str]:
    options = request.options
    row = dict.fromkeys(options.box_columns, "")
    if options.class_column is not None:
        row[options.class_column] = ""
    return row | {options.empty_column: options.empty_values[0]}
