"""A configuration key by key: value, default, type and meaning."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import Doc

from foundationx.core.strict_json import to_json

REQUIRED = "(required)"
"""Stands for the default of a key that has none."""

BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
BOUNDS |= {"min_length": "entries >=", "max_length": "entries <="}
NAMES: dict[Any, str] = {
    int: "integer",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    type(None): "null",
}


@dataclass(frozen=True)
class KeyRow:
    """One key.

    Attributes:
        key: Path of the key, as ``--cfg-options`` takes it.
        value: Value, as JSON has it.
        default: Default, as JSON has it; :data:`REQUIRED` if there is none.
        type: Type in words.
        meaning: Description.
    """

    key: str
    value: Any
    default: Any
    type: str
    meaning: str

    @property
    def is_changed(self) -> bool:
        """Whether the value differs from the default."""
        return bool(self.value != self.default)


def describe(section: BaseModel, prefix: str = "") -> Iterator[KeyRow]:
    """Every key of a configuration, sections first opened, in the order of the file.

    Args:
        section: Configuration or a section of it.
        prefix: Key of the section, empty for the whole configuration.

    Yields:
        Rows of keys that are not sections themselves.
    """
    for name, field in type(section).model_fields.items():
        yield from _rows(f"{prefix}.{name}" if prefix else name, getattr(section, name), field)


def options_of(model: type[BaseModel]) -> Iterator[KeyRow]:
    """Every option of a class of options with its default; the value is the default."""
    for name, field in model.model_fields.items():
        default = _default(field)
        yield KeyRow(name, default, default, type_in_words(field), field.description or "")


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a section can have, whatever its values; those of sections in a list or mapping once.

    Args:
        model: Class of the section.
        prefix: Key of the section, empty for the whole.
    """
    return (key for key, _ in fields_of(model, prefix))


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The keys of :func:`keys_of` with their fields."""
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        sections = list(_sections_in(field.annotation))
        if not sections or _may_be_plain(field.annotation):
            yield key, field
        for section in sections:
            yield from fields_of(section, key)


def range_table(model: type[BaseModel]) -> str:
    """The table of ``docs/safety.md``: type, range and default of every key that a section can have.

    Args:
        model: Class of the section.
    """
    lines = ["| key | type and range | default |", "|---|---|---|"]
    for key, field in fields_of(model):
        default = _default(field)
        shown = "required" if default == REQUIRED else f"`{to_json(default)}`"
        cells = [f"`{key}`", type_in_words(field), shown]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Classes of sections that a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def _may_be_plain(annotation: Any) -> bool:
    """Whether a type allows a number or text beside a section."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return is_union and any(part in (int, float, str, Path) for part in get_args(annotation))


def _rows(key: str, value: Any, field: FieldInfo) -> Iterator[KeyRow]:
    if isinstance(value, BaseModel):
        yield from describe(value, key)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, item in enumerate(value):
            yield from describe(item, f"{key}.{index}")
    elif isinstance(value, Mapping) and value:
        default = _default(field)
        for name, item in value.items():
            inner = default.get(str(name), REQUIRED) if isinstance(default, dict) else REQUIRED
            if isinstance(item, BaseModel):
                yield from describe(item, f"{key}.{name}")
            else:
                yield KeyRow(f"{key}.{name}", _json(item), inner, NAMES.get(type(item), "any"), field.description or "")
    else:
        yield KeyRow(key, _json(value), _default(field), type_in_words(field), field.description or "")


def _default(field: FieldInfo) -> Any:
    """The default as JSON has it, validated if the field asks for it."""
    if field.is_required():
        return REQUIRED
    default = field.get_default(call_default_factory=True, validated_data={})
    if field.validate_default:
        annotated: Any = Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]  # made at run time
        default = TypeAdapter(annotated).validate_python(default)
    return _json(default)


def _json(value: Any) -> Any:
    """A value as JSON has it."""
    if value is PydanticUndefined:
        return REQUIRED
    return TypeAdapter(Any).dump_python(value, mode="json")


def type_in_words(field: FieldInfo) -> str:
    """The type of a key for people: ``integer >= 1``, ``number or null``, ``adamw | sgd``."""
    return " ".join([_words(field.annotation), _bounds(field.metadata)]).strip()


def _bounds(metadata: Iterable[Any]) -> str:
    """Bounds of a number, number of entries of a list, and other ranges in words; empty if there are none."""
    limits = [limit for one in metadata for limit in (getattr(one, "metadata", None) or [one])]
    found = [
        f"{sign} {_bound(getattr(limit, name))}"
        for limit in limits
        for name, sign in BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([*found, *(limit.documentation for limit in limits if isinstance(limit, Doc))])


def _bound(value: float) -> str:
    """A bound for people: whole numbers in full."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([_words(parts[0]), _bounds(parts[1:])]).strip()
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin is tuple:
        inner = [part for part in parts if part is not Ellipsis]
        return f"list of {_words(inner[0])}" if Ellipsis in parts else f"list: {', '.join(map(_words, inner))}"
    if origin is dict:
        return f"mapping of {_words(parts[0])} to {_words(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(str(item.value) for item in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return NAMES.get(annotation, getattr(annotation, "__name__", "any").lower())
