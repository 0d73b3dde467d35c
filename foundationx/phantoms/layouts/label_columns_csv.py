"""CSV, one column a class, one row an image or a reader."""

from __future__ import annotations

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner
from foundationx.phantoms.truth import Film

MANNER = Manner()

READERS = ("R1", "R2", "R3")
"""Who reads an image where the card has a column of readers; what is doubtful is seen by the first alone."""


def write(request: Request) -> None:
    """Adds a row for every film, or for every reader of it."""
    options = request.options
    columns = {item.published: _column(request, item) for item in request.classes}
    for film in request.films:
        if options.reader_column is None:
            request.row(film, "", {}, {columns[item.published]: _cell(request, film, item) for item in request.classes})
            continue
        for number, reader in enumerate(READERS):
            seen = {columns[item.published]: _seen(request, film, item, number) for item in request.classes}
            request.row(film, reader, {options.reader_column: reader} | seen)
    request.add_rows_that_do_not_count()


def _column(request: Request, item: ClassSpec) -> str:
    """The column of a class: one that another card has begun, where there is one."""
    return next((name for name in item.published if request.draft.has(name)), item.published[0])


def _seen(request: Request, film: Film, item: ClassSpec, reader: int) -> str:
    state = request.state(film, item)
    return "1" if state or (state is None and reader == 0) else "0"


def _cell(request: Request, film: Film, item: ClassSpec) -> str:
    """1, 0, the number for "uncertain" where the card names what that means, or nothing."""
    options, state = request.options, request.state(film, item)
    uncertain = f"{options.uncertain_value:g}" if "uncertain" in options.model_fields_set else None
    if film.unread and options.blank == "unknown":
        return ""
    if state is None:
        return uncertain or ("" if options.blank == "unknown" else "0")
    absent = "" if options.blank == "negative" and film.number % 2 else "0"
    return "1" if state else absent
