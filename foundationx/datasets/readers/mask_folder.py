"""One mask file per image and class, in one folder of masks per class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from pydantic import Field, field_validator

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart
from foundationx.datasets.cards.schema import check_expression, check_names
from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"masks"})


class Options(ReaderOptions):
    """Folders of the masks, and the meaning of their pixels."""

    folders: dict[str, str] = Field(
        min_length=1, description="folder of the masks for each published class name; * and ? match any name"
    )
    mask_name: str = Field("{image_stem}.png", description="name of a mask, with {image_stem} or {image_name}")
    positive: int | None = Field(None, ge=0, le=255, description="pixel value of the class; null: any but 0")
    ignore: int | None = Field(None, ge=0, le=255, examples=[128], description="pixel value of unknown pixels")
    scaled: bool = Field(False, description="whether a mask may differ in size from its image")
    skip_names: str | None = Field(
        None, description="files of the mask folders to skip, as a regular expression that the whole name must match"
    )

    @field_validator("mask_name")
    @classmethod
    def _is_template(cls, template: str) -> str:
        check_names(template, ("image_stem", "image_name"))
        return template

    @field_validator("skip_names")
    @classmethod
    def _can_match(cls, expression: str | None) -> str | None:
        if expression is not None:
            check_expression(expression, groups=None)
        return expression


def read(source: Source, options: Options) -> None:
    """Adds every image of the images folders that has at least one mask, in alphabetical order.

    A class without a mask file is unknown, not absent: nobody drew it. Images without any mask are left out. A label is
    1 if a mask file exists, even if all its pixels are 0.

    Raises:
        DataError: A folder is missing, a class has no folder, or a mask has no image or is in two folders.
    """
    masks = {k: _masks(source, folders, options.skip_names) for k, folders in _folders(source, options).items()}
    unclaimed = {k: dict(files) for k, files in masks.items()}
    for folder in source.images.folders:
        for name in sorted(source.images.files(folder)):
            mask = options.mask_name.format(image_stem=PurePosixPath(name).stem, image_name=name)
            drawn = {k: files[mask] for k, files in masks.items() if mask in files}
            for k in drawn:
                unclaimed[k].pop(mask, None)
            if drawn:
                _add(source, options, source.path(name, folder, folder), drawn)
    for files in unclaimed.values():
        for mask, where in sorted(files.items()):
            with source.guard(where, mask):
                found = f"no image in {', '.join(map(repr, source.images.folders))} has this mask"
                raise DataError(
                    where,
                    found,
                    "an image for each mask",
                    "correct mask_name in the card, or name such files in skip_names",
                )


def _add(source: Source, options: Options, image: str, drawn: Mapping[int, str]) -> None:
    """Adds an image with its masks by class."""
    where = next(iter(drawn.values()))
    with source.guard(where, image):
        labels = source.labels(np.nan)
        labels[list(drawn)] = 1.0
        parts = [
            MaskPart(k, file, options.positive, options.ignore, scaled=options.scaled) for k, file in drawn.items()
        ]
        source.add(image, where, labels, masks=parts)


def _folders(source: Source, options: Options) -> dict[int, tuple[str, ...]]:
    """Folders of the masks by class index. Raises DataError if a class has none or a folder does not exist."""
    where = str(source.folder)
    given = {k: folder for name, folder in options.folders.items() for k in source.class_indices(name, where)}
    for k, name in enumerate(source.classes):
        if k not in given:
            raise DataError(
                where, f"the card gives no folder of masks for {name}", "a folder for each class", "add the folder"
            )
    return {k: source.images.matching(folder, "the published masks") for k, folder in given.items()}


def _masks(source: Source, folders: Sequence[str], skip_names: str | None) -> dict[str, str]:
    """Paths of the masks by file name, without those whose name the card skips."""
    files: dict[str, str] = {}
    for folder in folders:
        for name in source.images.files(folder):
            if skip_names is not None and re.fullmatch(skip_names, name):
                continue
            path = f"{folder}/{name}" if folder else name
            if files.setdefault(name, path) != path:
                raise DataError(
                    path, f"has the same name as {files[name]}", "one mask per image and class", "remove one of the two"
                )
    return files
