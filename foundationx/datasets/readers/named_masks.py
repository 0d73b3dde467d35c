"""One mask file per object; its name holds the image and the class (Shenzhen's lesions)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import MaskPart
from foundationx.datasets.cards.schema import Names, check_expression, check_names, template_fields
from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"labels", "masks"})

PARTS = {"image_stem": "(?P<image>.+?)", "image_name": "(?P<image>.+?)", "number": r"\d+"}
"""Regular expressions for the parts of a mask's name, except the class."""


class Options(ReaderOptions):
    """Folders and names of the masks, and the meaning of their pixels and of an image without a mask of a class."""

    masks: Names = Field(description="folders of the masks; * and ? match any name", examples=["masks"])
    mask_name: str = Field(
        description="name of a mask, with {image_stem} or {image_name}, {class} and {number}",
        examples=["{image_stem}_{class}_{number}.png"],
    )
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class without a mask in an annotated image"
    )
    annotated: str | None = Field(
        None,
        description="regular expression on the paths of images that are annotated even if they have no mask; null: "
        "only images with a mask are",
        examples=[r"_1\.png$"],
    )
    positive: int | None = Field(
        None, ge=0, le=255, examples=[255], description="pixel value of the class; null: any but 0"
    )
    ignore: int | None = Field(None, ge=0, le=255, examples=[128], description="pixel value of unknown pixels")
    scaled: bool = Field(False, description="whether a mask may differ in size from its image")

    @field_validator("mask_name")
    @classmethod
    def _is_template(cls, template: str) -> str:
        check_names(template, (*PARTS, "class"))
        for names in (("class",), ("image_stem", "image_name")):
            if sum(template.count(f"{{{name}}}") for name in names) != 1:
                raise ValueError(f"{template!r} must contain {' or '.join(f'{{{name}}}' for name in names)} once")
        return template

    @field_validator("annotated")
    @classmethod
    def _is_expression(cls, expression: str | None) -> str | None:
        if expression is not None:
            check_expression(expression, groups=None)
        return expression


def read(source: Source, options: Options) -> None:
    """Adds every image of the images folders with a mask, or that ``annotated`` names, in alphabetical order.

    A class with a mask is present, and its masks are united. Any other class of such an image is absent or unknown,
    depending on ``absent``.

    Raises:
        DataError: A folder is missing, a mask's name has no class of the card, or a mask has no image.
    """
    masks: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path, image, published in _masks(source, options):
        with source.guard(path, path):
            indices = _classes(source, options, published, path)
            masks[image] += [(k, path) for k in indices]
    by_stem = "image_stem" in template_fields(options.mask_name)
    for folder in source.images.folders:
        for name in sorted(source.images.files(folder)):
            image = source.path(name, folder, folder)
            drawn = masks.pop(PurePosixPath(name).stem if by_stem else name, [])
            if drawn or (options.annotated is not None and re.search(options.annotated, image)):
                _add(source, options, image, drawn)
    for image, drawn in sorted(masks.items()):
        where = drawn[0][1]
        with source.guard(where, where):
            found = f"no image in {', '.join(map(repr, source.images.folders))} is called {image}"
            raise DataError(where, found, "an image for each mask", "correct mask_name in the card")


def _masks(source: Source, options: Options) -> Iterator[tuple[str, str, str | None]]:
    """Path, image and published class of each mask; no class if the name has another form."""
    parts = PARTS | {"class": f"(?P<label>{_any_of(source)})"}
    pieces = re.split(r"\{(\w+)\}", options.mask_name)
    expression = "".join(parts[piece] if index % 2 else re.escape(piece) for index, piece in enumerate(pieces))
    for pattern in options.masks:
        for folder in source.images.matching(pattern, "the published masks"):
            for name in sorted(source.images.files(folder)):
                match = re.fullmatch(expression, name)
                path = f"{folder}/{name}" if folder else name
                yield (path, match["image"], match["label"]) if match else (path, name, None)


def _any_of(source: Source) -> str:
    """Regular expression for the published names, the longest first."""
    return "|".join(map(re.escape, sorted(source.names, key=len, reverse=True)))


def _classes(source: Source, options: Options, published: str | None, path: str) -> list[int]:
    """Indices of a mask's classes. Raises DataError if its name has none."""
    if published is None:
        expected = f"{options.mask_name}; {nearest(PurePosixPath(path).stem, list(source.names))}"
        raise DataError(path, "the name holds no class of the card", expected, "add the class, or correct mask_name")
    return source.class_indices(published, path)


def _add(source: Source, options: Options, image: str, drawn: Sequence[tuple[int, str]]) -> None:
    """Adds an image with its masks."""
    where = drawn[0][1] if drawn else image
    with source.guard(where, image):
        labels = source.labels(np.nan if options.absent == "unknown" else 0.0)
        labels[[k for k, _ in drawn]] = 1.0
        parts = [MaskPart(k, file, options.positive, options.ignore, scaled=options.scaled) for k, file in drawn]
        source.add(image, where, labels, masks=parts)
