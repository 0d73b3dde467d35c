"""Labels in the image's path, without an annotation file (Shenzhen, Montgomery, JSRT)."""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field, field_validator

from foundationx.core.errors import DataError
from foundationx.datasets.cards.schema import check_expression
from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"labels"})


class Options(ReaderOptions):
    """Position of the label in the path. The classes' published names are its values."""

    pattern: str = Field(description="regular expression on the image's path; group 1 is the label")
    negative: tuple[str, ...] = Field((), description="values that mean that all classes are absent")
    unknown: tuple[str, ...] = Field((), examples=[["x"]], description="values that mean that every class is unknown")
    ignore: str | None = Field(
        None, description="files to skip, as a regular expression that the whole name must match (Thumbs.db)"
    )

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, pattern: str) -> str:
        check_expression(pattern)
        return pattern

    @field_validator("ignore")
    @classmethod
    def _can_match(cls, expression: str | None) -> str | None:
        if expression is not None:
            check_expression(expression, groups=None)
        return expression


def read(source: Source, options: Options) -> None:
    """Adds every file of the images folders in alphabetical order; all classes but that of its label are absent.

    Raises:
        DataError: A path that does not match, or a value that is neither a class nor negative nor unknown.
    """
    for folder in source.images.folders:
        for name in sorted(source.images.files(folder)):
            if options.ignore is not None and re.fullmatch(options.ignore, name):
                continue
            image = f"{folder}/{name}" if folder else name
            with source.guard(image, image):
                source.add(image, image, _labels(source, options, image))


def _labels(source: Source, options: Options, image: str) -> np.ndarray:
    match = re.search(options.pattern, image)
    if match is None:
        raise DataError(image, f"does not match {options.pattern!r}", "a file name with a label", "correct the card")
    value = match.group(1)
    if value in options.unknown:
        source.strings.unknown[value] += 1
        return source.labels(np.nan)
    labels = source.labels(0.0)
    if value in options.negative:
        source.strings.absent[value] += 1
        return labels
    labels[sorted(source.names.undecided([value]))] = np.nan
    labels[source.class_indices(value, image, [*options.negative, *options.unknown])] = 1.0
    return labels
