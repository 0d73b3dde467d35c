"""What all parts of a card are made of."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of all parts of a card: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]


def check_expression(expression: str, groups: int | None = 1) -> None:
    """Raises ValueError unless it is a regular expression with so many groups (None: any number)."""
    try:
        found = re.compile(expression).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{expression!r} is not a regular expression: {error}") from None
    if groups is not None and found != groups:
        raise ValueError(f"{expression!r} has {found} groups; exactly one must enclose the value")


def check_names(template: str, known: Iterable[str]) -> None:
    """Raises ValueError unless a template names nothing but ``known``."""
    known = sorted(known)
    if any(name not in known for name in template_fields(template)):
        raise ValueError(f"{template!r} may contain {', '.join(f'{{{name}}}' for name in known)}")


def template_fields(template: str) -> tuple[str, ...]:
    """Names in the braces of a template such as ``files/p{subject_id:.2}/{dicom_id}``.

    A name may be followed by ``:.N`` (its first N characters) and by nothing else: a card is data, not a program.

    Raises:
        ValueError: the braces do not match or hold something else.
    """
    names = []
    for _, name, cut, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if not name or not re.fullmatch(r"(\.[0-9]+)?", cut) or conversion or re.search(r"[.\[]", name):
            raise ValueError(f"{template!r} may hold {{column}} and {{column:.N}}, found {{{name}{cut and ':' + cut}}}")
        names.append(name)
    return tuple(names)
