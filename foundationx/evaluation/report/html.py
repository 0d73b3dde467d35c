"""Pieces of the page, as HTML. Texts are escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from foundationx.core.types import TaskKey
from foundationx.evaluation.trivial import DIGITS


def head_of(key: TaskKey) -> str:
    """A head's name."""
    return f"{escape(key.dataset)} <em>{escape(key.task.value)}</em>"


def section(title: str, content: str) -> str:
    """A part of the page; ``content`` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n"


def details(title: str, content: str) -> str:
    """What is shown when it is asked for; ``content`` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def table_of(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: int) -> str:
    """A table of texts; the last ``numbers`` columns are aligned right."""
    columns = list(columns)
    kinds = [" class='number'" if index >= len(columns) - numbers else "" for index in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    lines = [
        "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def rounded(value: float | None) -> str:
    """A metric as the page writes it; "-" for none."""
    return "-" if value is None else f"{value:.{DIGITS}f}"
