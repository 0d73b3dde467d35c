"""Base class and validators shared by all parts of a card."""

from __future__ import annotations

import os
import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Part(BaseModel):
    """Base of all parts of a card: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    """Accepts a single name without a list."""
    return (value,) if isinstance(value, str) else value


def _joined(value: Any) -> Any:
    """Accepts a list of alternative names."""
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return " | ".join(value) if is_list else value


def _without_empty(text: str) -> str:
    """The text of alternative names, unchanged. Raises ValueError if one of several is empty."""
    if "" in (names := alternatives(text)) and len(names) > 1:
        raise ValueError(f"{text!r} has an empty alternative")
    return text


AlternativeTexts = Annotated[str, BeforeValidator(_joined, json_schema_input_type=str | tuple[str, ...])]
"""A text, or several: ``[A, B]`` or ``A | B`` is A, or else B. Copies of a dataset name their files differently."""

AlternativeNames = Annotated[AlternativeTexts, AfterValidator(_without_empty)]
"""A name, or several, none of them empty."""

Names = Annotated[
    tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=tuple[str, ...] | str), Field(min_length=1)
]
"""One or several names of files, folders or columns."""


def alternatives(text: str) -> tuple[str, ...]:
    """The names in ``A | B | C``: a copy of a dataset has one of them, and the first that is there is used."""
    return tuple(dict.fromkeys(part.strip() for part in text.split("|")))


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once."""
    counts = Counter(names)
    return [name for name, count in counts.items() if count > 1]


def check_expression(expression: str, groups: int | None = 1) -> None:
    """Raises ValueError unless it is a regular expression with that many groups (None: any number)."""
    try:
        count = re.compile(expression).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{expression!r} is not a regular expression: {error}") from None
    if groups is not None and count != groups:
        raise ValueError(f"{expression!r} has {count} groups; exactly one must enclose the value")


def check_names(template: str, known: Iterable[str]) -> None:
    """Raises ValueError if a template contains names other than ``known``."""
    known = sorted(known)
    if any(name not in known for name in template_fields(template)):
        raise ValueError(f"{template!r} may contain {', '.join(f'{{{name}}}' for name in known)}")


def listed_name(image: str, template: str, value: str = "") -> str:
    """How a table writes an image: a template with ``{image}``, ``{image_name}``, ``{image_stem}`` or ``{value}``.

    Args:
        image: Path of the image.
        template: Text with names in braces.
        value: What is known of the image's patient so far.
    """
    name = image.rpartition("/")[2]
    return template.format(image=image, image_name=name, image_stem=os.path.splitext(name)[0], value=value)


def template_fields(template: str) -> tuple[str, ...]:
    """Names in braces of a template such as ``files/p{subject_id:.2}/{dicom_id}``.

    A name may be followed by ``:.N`` (its first N characters) and by nothing else: a card is data, not a program.

    Raises:
        ValueError: The braces do not match or contain something else.
    """
    names = []
    for _, name, cut, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if not name or not re.fullmatch(r"(\.[0-9]+)?", cut or "") or conversion or re.search(r"[.\[]", name):
            field = f"{{{name}{cut and ':' + cut}}}"
            raise ValueError(f"{template!r} may contain {{column}} and {{column:.N}}, but it contains {field}")
        names.append(name)
    return tuple(names)
