"""Values in tables of the terminal: those that are no better than a trivial answer are marked."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from foundationx.evaluation.trivial import DIGITS, is_low, mark

LOW = "bold red"
"""Style of a value that is no better than a trivial one."""


def marked(value: float | None, trivial: Iterable[float | None], digits: int = DIGITS, metric: str = "") -> str | Text:
    """A value as text; red, and with words for output without colours, if it is no better than a trivial one.

    Args:
        value: The value; None if it is not defined.
        trivial: Values of the same metric without looking at the images.
        digits: Decimals.
        metric: Name of the metric, which says whether lower values are better.
    """
    text = "-" if value is None else f"{value:.{digits}f}"
    return as_low(mark(text, metric)) if value is not None and is_low(value, trivial, metric) else text


def as_low(text: str) -> Text:
    """Text in the colour of values that are no better than trivial ones."""
    return Text(text, style=LOW)
