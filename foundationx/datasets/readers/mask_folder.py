"""One mask file an image and class; one folder of masks a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from pydantic import Field, field_validator

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart
from foundationx.datasets.cards.schema import check_names
from foundationx.datasets.readers._source import ReaderOptions, Source

GIVES = frozenset({"masks"})


class Options(ReaderOptions):
    """Where the masks are and what their pixels mean."""

    folders: dict[str, str] = Field(
        min_length=1, description="folder of the masks by published class name; * and ? stand for any name"
    )
    mask_name: str = Field("{image_stem}.png", description="with {image_stem} or {image_name}")
    positive: int | None = Field(None, ge=0, le=255, description="pixel of the class; any but 0 where it is null")
    ignore: int | None = Field(None, ge=0, le=255, description="pixel of which nothing is known")
    scaled: bool = Field(False, description="a mask may have another size than its image")

    @field_validator("mask_name")
    @classmethod
    def _is_template(cls, template: str) -> str:
        check_names(template, ("image_stem", "image_name"))
        return template


def read(source: Source, options: Options) -> None:
    """Adds every image of the images folders that has at least one mask, in alphabetical order.

    A class is unknown where its mask file is missing: nobody drew it, which is not "there is none". Images without any
    mask are left out. Labels say 1 where a mask file exists; whether it is empty only its pixels tell.

    Raises:
        DataError: a folder is missing, a class has no folder, a mask belongs to no image or stands in two folders.
    """
    masks = {k: _masks(source, folders) for k, folders in _folders(source, options).items()}
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
                raise DataError(where, found, "one", "check mask_name")


def _add(source: Source, options: Options, image: str, drawn: Mapping[int, str]) -> None:
    """Adds an image with the masks drawn for it, by class."""
    where = next(iter(drawn.values()))
    with source.guard(where, image):
        labels = source.labels(np.nan)
        labels[list(drawn)] = 1.0
        parts = [
            MaskPart(k, file, options.positive, options.ignore, scaled=options.scaled) for k, file in drawn.items()
        ]
        source.add(image, where, labels, masks=parts)


def _folders(source: Source, options: Options) -> dict[int, tuple[str, ...]]:
    """Folders of each class by index. Raises DataError where a class has none or a folder does not exist."""
    where = str(source.folder)
    given = {source.class_index(name, where): folder for name, folder in options.folders.items()}
    for k, name in enumerate(source.classes):
        if k not in given:
            raise DataError(where, f"the card gives no folder of masks for {name}", "one folder a class", "add it")
    return {k: source.images.matching(folder, "the published masks") for k, folder in given.items()}


def _masks(source: Source, folders: Sequence[str]) -> dict[str, str]:
    """Path of each mask by its file name."""
    files: dict[str, str] = {}
    for folder in folders:
        for name in source.images.files(folder):
            path = f"{folder}/{name}" if folder else name
            if files.setdefault(name, path) != path:
                raise DataError(path, f"stands in {files[name]} as well", "one mask an image", "remove one of the two")
    return files
