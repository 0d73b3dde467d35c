"""Errors of pydantic as errors of foundationx: file and key, actual value, expected value, fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from foundationx.core.errors import OF_THE_BASE, FoundationXError, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Error = TypeVar("Error", bound=FoundationXError)


def validation_error(
    error: ValidationError, model: type[BaseModel], source: str, kind: type[Error], prefix: str = ""
) -> Error:
    """The first problem of a pydantic error; an unknown key first, since a misspelt key explains a missing one.

    Args:
        error: Error of pydantic.
        model: Model that was validated; its keys are suggested for a misspelt one.
        source: File or option that was read; "" if ``prefix`` suffices.
        kind: Class of the returned error.
        prefix: Key of the model within the source.
    """
    problem = min(error.errors(), key=lambda details: details["type"] != "extra_forbidden")
    location = problem["loc"]
    key = key_path((prefix, *location) if prefix else location)
    found, expected, fix = _explanation(problem, model, location)
    if prefix.startswith("model.") and problem["type"] == "extra_forbidden":
        fix += f"; {OF_THE_BASE}"
    return kind(": ".join(part for part in (source, key) if part), found, expected, fix)


def key_path(location: tuple[int | str, ...]) -> str:
    """A location of pydantic as people write it: ``tasks.classification.classes[3].name``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else str(part)
    return text


def _explanation(
    problem: ErrorDetails, model: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[str, str, str]:
    """Actual value, expected value, and the fix."""
    shown, message = f"found {problem['input']!r}", problem["msg"]
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return "unknown key", nearest(str(location[-1]), known), "correct or remove the key"
    if problem["type"] == "missing":
        return "is missing", "a value, since the key has no default", "add the key"
    if problem["type"] in ("enum", "literal_error"):
        return shown, f"{message} ({_nearest_choice(problem)})", "correct the value"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"]), "", "correct the value"
    return shown, message, "correct the value"


def _nearest_choice(problem: ErrorDetails) -> str:
    """Hint for a value outside a fixed set; pydantic prints the set as ``'yes', 'no' or 'unknown'``."""
    listed = str(problem["ctx"]["expected"]).replace(" or ", ", ")
    return nearest(str(problem["input"]), [choice.strip().strip("'") for choice in listed.split(",")])


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the model at ``location``; list indices and keys of plain dictionaries lead no deeper."""
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
    models = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in models if model is not None), None)
