"""Formats of exported backbones and whole models. A format is one file of this folder with a ``FORMAT``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.core.extensions import Extensions, one_value
from foundationx.core.types import TaskKey
from foundationx.models.foundation_model import FoundationModel


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        model: Student or teacher, in evaluation mode.
        config: Run configuration.
        which: ``student`` or ``teacher``.
        heads: Heads that a whole model holds.
        thresholds: Thresholds that were chosen on validation, by head and class.
        codes: Codes of the classes in systems of codes, by head and class.
    """

    model: FoundationModel
    config: RunConfig
    which: str
    heads: tuple[TaskKey, ...] = ()
    thresholds: Mapping[TaskKey, Mapping[str, float]] = field(default_factory=dict)
    codes: Mapping[TaskKey, Mapping[str, Mapping[str, Sequence[str]]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a backbone or a whole model.

    Attributes:
        write: Function of what is exported and the output path; returns the lines of code that use the result.
        suffix: Suffix of the default file or folder name.
        use: Users of the format, in a few words.
        whole: Whether the format takes heads; else it takes the backbone alone.
        library: Library of OpenMMLab for which it holds one head; empty if it holds heads of every task together.
    """

    write: Callable[[Source, Path], str]
    suffix: str
    use: str
    whole: bool = False
    library: str = ""


FORMATS: Extensions[Format] = Extensions(
    "format",
    "foundationx.weights.exports",
    one_value("FORMAT", Format),
    shared=("formats",),
    name_of=lambda path: path.stem.replace("_", "-"),
)
"""Every format: the files of this folder and the entry points of ``foundationx.formats``."""


def normalising(config: RunConfig, array: str, kind: str) -> str:
    """A line of code that makes ``images`` (B, 3, S, S) of ``grey`` (B, 1, S, S) in [0, 1].

    Args:
        config: Holds mean and standard deviation.
        array: Function that makes an array or tensor of a list.
        kind: Its type of numbers.
    """
    mean, std = (
        f"{array}({list(values)}, dtype={kind}).reshape(1, 3, 1, 1)" for values in (config.model.mean, config.model.std)
    )
    return f"images = (grey - {mean}) / {std}"
