"""Formats of the exported backbone. A format is one file of this folder with a ``FORMAT``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.core.extensions import Extensions, one_value
from foundationx.models.foundation_model import FoundationModel


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a backbone.

    Attributes:
        write: Function of the model, the run configuration, ``student`` or ``teacher``, and the output path; returns
            the lines of code that use the result.
        suffix: Suffix of the default file or folder name.
        use: Users of the format, in a few words.
    """

    write: Callable[[FoundationModel, RunConfig, str, Path], str]
    suffix: str
    use: str


FORMATS: Extensions[Format] = Extensions(
    "format",
    "foundationx.weights.exports",
    one_value("FORMAT", Format),
    shared=("formats",),
    name_of=lambda path: path.stem.replace("_", "-"),
)
"""Every format: the files of this folder and the entry points of ``foundationx.formats``."""
