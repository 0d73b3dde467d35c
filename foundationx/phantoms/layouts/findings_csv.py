"""CSV, one row an image, all its findings joined in one column."""

from __future__ import annotations

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner
from foundationx.phantoms.truth import Film

MANNER = Manner(
    # Without a word for "none", the classes divide the images among themselves (Normal, Pneumonia, COVID-19).
    one_label=lambda options: not options.negative and options.blank != "negative",
    none=lambda options: bool(options.negative) or options.blank == "negative",
)


def write(request: Request) -> None:
    """Adds a row for every film, two for one of them where the card lets an image stand in several rows."""
    options = request.options
    for film in request.films:
        labels = {options.findings_column: _cell(request, film)}
        request.row(film, "", {}, labels)
        if options.repeated == "same" and film is request.films[-1]:
            request.row(film, "again", {}, labels)
    request.add_rows_that_do_not_count()


def _cell(request: Request, film: Film) -> str:
    options = request.options
    if film.unread and (options.unknown or options.blank == "unknown"):
        return options.unknown[0] if options.unknown else ""
    names = [request.word(film, item) for item in request.present(film)]
    if not names:
        names = [*options.negative[:1]]
    elif options.ignore and film.number % 3 == 0:
        names.append(options.ignore[0])
    return options.separator.join(names)
