"""Faults of a schema (of cards, vocabularies, recipes) in the words of the house: file, key, found, what would do."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from foundationx.core.errors import CardError, FoundationXError, nearest

Fault = TypeVar("Fault", bound=FoundationXError)


def key_path(location: tuple[int | str, ...]) -> str:
    """A pydantic location as people write it: ``tasks.classification.classes[3].name``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else str(part)
    return text


def card_error(error: ValidationError, model: type[BaseModel], file: str, prefix: str = "") -> CardError:
    """The first fault of a pydantic error as a CardError naming ``file`` and the key below ``prefix``."""
    return schema_error(error, model, file, CardError, prefix)


def schema_error(
    error: ValidationError, model: type[BaseModel], file: str, kind: type[Fault], prefix: str = ""
) -> Fault:
    """The first fault of a pydantic error as an error of ``kind`` naming ``file`` and the key below ``prefix``."""
    fault = error.errors()[0]
    location = fault["loc"]
    key = ".".join(part for part in (prefix, key_path(location)) if part)
    where = f"{file}: {key}" if key else file
    if fault["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return kind(where, "unknown key", nearest(str(location[-1]), known), "correct or remove it")
    if fault["type"] == "missing":
        return kind(where, "is missing", fault["msg"], "add the key")
    if fault["type"] in ("enum", "literal_error"):
        expected = f"{fault['msg']} ({_nearest_choice(fault)})"
        return kind(where, f"found {fault['input']!r}", expected, "correct the value")
    if fault["type"] == "value_error":
        return kind(where, str(fault["ctx"]["error"]), fix="correct the file")
    return kind(where, f"found {fault['input']!r}", fault["msg"], "correct the value")


def _nearest_choice(fault: dict[str, Any]) -> str:
    """Hint for a value outside a fixed set; pydantic prints the set as ``'yes', 'no' or 'unknown'``."""
    listed = str(fault["ctx"]["expected"]).replace(" or ", ", ")
    return nearest(str(fault["input"]), [choice.strip().strip("'") for choice in listed.split(",")])


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys known by the model at ``location``, where list indices and dictionary keys lead no deeper."""
    current = model
    for part in location:
        field = current.model_fields.get(str(part))
        if field is not None:
            current = _model_in(field.annotation) or current
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``tuple[ClassSpec, ...]`` or ``Licence | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)
