"""Reads JSON that somebody else may have written, and writes strict JSON: no key twice, no NaN, no endless nesting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(value: Any, indent: int | None = None, *, ascii_only: bool = True) -> str:
    """Strict JSON: numbers that are not finite, for which it has no word, become null.

    Args:
        value: Value of plain types.
        indent: Spaces per level; None for one line.
        ascii_only: Escape all other characters.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=ascii_only)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=ascii_only)


def to_exact_json(value: Any) -> str:
    """JSON from which the value can be read back unchanged. Raises ValueError: a number is not finite."""
    return json.dumps(value, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON by the standard; bytes are UTF-8.

    Raises:
        ValueError: The text is not JSON, a key occurs twice in one object, a number is NaN or infinite, or values are
            nested too deeply to be read.
    """
    if not isinstance(text, str | bytes):
        raise ValueError(f"{type(text).__name__} is no JSON text")
    text = text.decode() if isinstance(text, bytes) else text
    try:
        return json.loads(text, object_pairs_hook=_each_key_once, parse_float=_finite_number, parse_constant=_refused)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r:.80} occurs twice")
    return values


def _finite_number(digits: str) -> float:
    if not math.isfinite(number := float(digits)):  # 1e999
        raise ValueError(f"{digits:.80} is too large")
    return number


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
