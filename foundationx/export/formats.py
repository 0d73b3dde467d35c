"""Formats of the exported backbone. A format is an entry of ``FORMATS`` in a file of this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foundationx import export as room
from foundationx.config import RunConfig
from foundationx.model import FoundationModel


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
