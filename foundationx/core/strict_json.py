"""Reads JSON that somebody else may have written: no key twice, no NaN, no nesting without end."""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str) -> Any:
    """The value of a JSON text.

    Args:
        text: JSON by the standard.

    Raises:
        ValueError: The text is not JSON, a key occurs twice in one object, a number is NaN or infinite, or values are
            nested too deeply to be read.
    """
    if not isinstance(text, str):
        raise ValueError(f"{type(text).__name__} is no JSON text")
    try:
        return json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_refused)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r:.80} occurs twice")
    return values


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
