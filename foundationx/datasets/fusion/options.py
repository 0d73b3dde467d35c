"""Checks what a recipe says about the run: plain values, which name nothing that would be built, opened or run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from foundationx.core.config.backbones import UNUSED, known_backbone
from foundationx.core.errors import RecipeError

FIX = "remove it; if you trust the source of the recipe, pass --allow-code"

KINDS = re.compile(
    r"model\.backbone(\.(act|norm|conv)_cfg)?|model\.objective|model\.heads\.[a-z_]+|schedule|optimizer(\.curve)?"
    r"|consistency\.weight|teacher\.momentum"
)
"""Sections of a configuration that have a key ``type``."""

PATHS = ("model.init", "model.init_run", "model.init_heads", "split.file", "split.record", "exclude", "runtime.cache")
"""Keys that name files and folders of the machine: the user sets them, not the recipe."""


def check_options(options: dict[str, Any], where: str) -> None:
    """Checks ``run.options`` of a recipe.

    Args:
        options: Keys of the configuration, nested.
        where: File and key, for messages.

    Raises:
        RecipeError: A value is not plain, contains a substitution of mmengine (``{{ }}``), says where weights come
            from, names a file, or has a ``type`` where the configuration has none.
    """
    for path, value in _walk(options, "", where):
        key = path.rpartition(".")[2]
        if key.startswith("_") or key in UNUSED or path in PATHS:
            raise RecipeError(f"{where}.{path}", "a recipe may not set this key", "keys of the configuration", FIX)
        if key == "type" and not KINDS.fullmatch(path.rpartition(".")[0]):
            raise RecipeError(f"{where}.{path}", f"found {value!r:.80}", "no `type` in this section", FIX)
        check_plain(value, f"{where}.{path}")


def check_plain(value: Any, where: str) -> None:
    """Raises RecipeError unless it is a finite number, a truth value, null, or text without ``{{`` and ``}}``."""
    if isinstance(value, str) and ("{{" in value or "}}" in value):
        raise RecipeError(where, f"found {value!r:.80}", "text without substitutions `{{ }}`", FIX)
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(where, f"found {value}", "a finite number", "correct the value")
    if value is not None and not isinstance(value, str | bool | int | float | dict | list | tuple):
        raise RecipeError(where, f"found a {type(value).__name__}", "a plain value", "put it in quotation marks")


def check_backbone(values: dict[str, Any], where: str) -> None:
    """Checks the backbone of the whole configuration. Raises ConfigError: it is not one of the known ones."""
    model = values.get("model")
    if isinstance(model, dict) and isinstance(model.get("backbone"), dict):
        known_backbone(model["backbone"], f"{where}.model.backbone")


def _walk(value: Any, path: str, where: str) -> Iterator[tuple[str, Any]]:
    """Every value with its path, at every depth; keys are checked as text too."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"{where}.{path}: key")
            below = f"{path}.{key}" if path else str(key)
            yield below, item
            yield from _walk(item, below, where)
    elif isinstance(value, list | tuple):
        for item in value:
            yield f"{path}[]", item
            yield from _walk(item, f"{path}[]", where)
