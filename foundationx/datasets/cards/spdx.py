"""Licences as SPDX expressions, checked by license-expression; LicenseRef-NAME where SPDX has no identifier."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

_REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


def licence_ref(name: str) -> str:
    """A ``LicenseRef-`` of a licence's name: what is neither letter, digit nor point becomes a hyphen."""
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "unnamed")


def normalised(expression: str) -> str:
    """An SPDX expression in its usual spelling: ``cc-by-4.0 and mit`` becomes ``CC-BY-4.0 AND MIT``.

    Raises:
        ValueError: It is no expression, or names a licence that SPDX does not have.
    """
    parsed, known = _parse(expression), _licensing().known_symbols
    for symbol in identifiers(expression):
        if symbol not in known and not _REFERENCE.fullmatch(symbol):
            near = difflib.get_close_matches(symbol, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"write {licence_ref(symbol)} if SPDX has none"
            raise ValueError(f"{symbol!r} is no identifier of SPDX (https://spdx.org/licenses); {hint}")
    return str(parsed.render())


def holds(expression: str, condition: Callable[[str], bool]) -> bool:
    """Whether a condition holds for the licences of an expression: for all that AND joins, for one that OR joins.

    Args:
        expression: SPDX expression.
        condition: Condition on one identifier.
    """
    return _holds(_parse(expression), condition)


def identifiers(expression: str) -> tuple[str, ...]:
    """Identifiers of an expression, each once, in the order of the expression."""
    return tuple(_licensing().license_keys(_parse(expression)))


def _holds(node: Any, condition: Callable[[str], bool]) -> bool:
    from license_expression import AND, OR

    if isinstance(node, AND):
        return all(_holds(part, condition) for part in node.args)
    if isinstance(node, OR):
        return any(_holds(part, condition) for part in node.args)
    return condition(str(node.render()))


def _parse(expression: str) -> Any:
    """The tree of an expression. Raises ValueError."""
    from license_expression import ExpressionError, ExpressionParseError

    try:
        parsed = _licensing().parse(expression)
    except (ExpressionError, ExpressionParseError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{expression!r} is no SPDX expression: {text}") from None
    if parsed is None:
        raise ValueError("is empty; expected an SPDX expression")
    return parsed


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
