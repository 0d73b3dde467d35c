"""Pieces of the page, as HTML. Texts are escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from foundationx.core.types import TaskKey
from foundationx.evaluation.trivial import DIGITS


class Html(str):
    """Text that is HTML already: it is not escaped again."""

    __slots__ = ()


def head_of(key: TaskKey) -> str:
    """A head's name."""
    return f"{escape(key.dataset)} <em>{escape(key.task.value)}</em>"


def anchor(text: str) -> str:
    """A name of letters, digits and dashes that a link of the page can lead to."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "part"


def section(title: str, content: str) -> str:
    """A part of the page; ``content`` is HTML."""
    return f"<section id='{anchor(title)}'><h2>{escape(title)}</h2>{content}</section>\n"


def details(title: str, content: str, opened: bool = False) -> str:
    """What is shown when it is asked for; ``content`` is HTML."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{content}</details>"


def quiet(text: str) -> str:
    """A paragraph of explanation; ``text`` is plain."""
    return f"<p class='quiet'>{escape(text)}</p>"


def table_of(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: int, caption: str = "") -> str:
    """A table of texts; the last ``numbers`` columns are aligned right.

    The page's script makes it sortable by the head of each column, and long ones searchable.

    Args:
        columns: Names of the columns.
        rows: Cells; those that are :class:`Html` stand as they are.
        numbers: Columns of numbers.
        caption: Its name for those who do not see the page; "" for the names of the columns.
    """
    columns = list(columns)
    first = len(columns) - numbers
    kinds = [" class='number'" if index >= first else "" for index in range(len(columns))]
    head = "".join(f"<th scope='col'{kind}>{escape(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    name = escape(caption or ", ".join(columns), quote=True)
    return framed(f"<table class='sort'><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>", name)


def framed(table: str, name: str) -> str:
    """A table in a frame in which it scrolls sideways, by keyboard too, if the page is narrow; both are HTML."""
    return f"<div class='scroll' role='group' tabindex='0' aria-label='{name}'>{table}</div>"


def _cell(cell: str) -> str:
    return cell if isinstance(cell, Html) else escape(str(cell))


def rounded(value: float | None) -> str:
    """A metric as the page writes it; "-" for none."""
    return "-" if value is None else f"{value:.{DIGITS}f}"


def between(low: float | None, high: float | None) -> str:
    """An interval as the page writes it; "" for none."""
    return "" if low is None or high is None else f"[{low:.{DIGITS}f}, {high:.{DIGITS}f}]"
