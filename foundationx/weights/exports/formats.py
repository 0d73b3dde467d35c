"""Formats of the exported backbone. A format is an entry of ``FORMATS`` in a file of this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights import exports as room


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a backbone.

    Attributes:
        write: takes the model, the run's configuration, ``student`` or ``teacher``, and where to; returns what a user
            writes to use the result.
        suffix: of the default file (or folder) name.
        use: for whom it is, in a few words.
    """

    write: Callable[[FoundationModel, RunConfig, str, Path], str]
    suffix: str
    use: str


@cache
def formats() -> dict[str, Format]:
    """Every format of this folder by its name."""
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(room.__path__):
        found |= getattr(importlib.import_module(f"{room.__name__}.{module.name}"), "FORMATS", {})
    return found
