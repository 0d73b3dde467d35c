"""One mask file an image and class; one folder of masks a class."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
from pydantic import Field

from foundationx.data.readers._source import ReaderOptions, Source
from foundationx.errors import DataError
from foundationx.types import MaskPart, Task

TASKS = frozenset({Task.SEGMENTATION})


class Options(ReaderOptions):
    """Where the masks are and what their pixels mean."""

    folders: dict[str, str] = Field(description="folder of the masks by published class name", min_length=1)
    mask_name: str = Field("{image_stem}.png", description="with {image_stem} or {image_name}")
    positive: int | None = Field(None, ge=0, le=255, description="pixel of the class; any but 0 where it is null")
    ignore: int | None = Field(None, ge=0, le=255, description="pixel of which nothing is known")


def read(source: Source, options: Options) -> None:
    """Adds every image of the images folder that has at least one mask, in alphabetical order.

    A class is unknown where its mask file is missing: nobody drew it, which is not "there is none". Images without any
    mask are left out. Labels say 1 where a mask file exists; whether it is empty only its pixels tell.

    Raises:
        DataError: a folder is missing, a class has no folder, or a mask belongs to no image.
    """
    folders = _folders(source, options)
    names = sorted(source.files(source.spec.images))
    unclaimed = {k: set(source.files(folder)) for k, folder in folders.items()}
    for name in names:
        stem = PurePosixPath(name).stem
        mask = options.mask_name.format(image_stem=stem, image_name=name)
        drawn = [k for k in folders if mask in source.files(folders[k])]
        for k in drawn:
            unclaimed[k].discard(mask)
        if not drawn:
            continue
        where = f"{folders[drawn[0]]}/{mask}"
        with source.guard(where, name):
            labels = source.labels(np.nan)
            labels[drawn] = 1.0
            parts = [MaskPart(k, f"{folders[k]}/{mask}", options.positive, options.ignore) for k in drawn]
            source.add(source.path(name, where, source.spec.images), where, labels, masks=parts)
    for k, masks in unclaimed.items():
        for mask in sorted(masks):
            where = f"{folders[k]}/{mask}"
            with source.guard(where, mask):
                raise DataError(where, f"no image in {source.spec.images!r} has this mask", "one", "check mask_name")


def _folders(source: Source, options: Options) -> dict[int, str]:
    """Folder of each class by index. Raises DataError where a class has none or a folder does not exist."""
    where = str(source.folder)
    folders = {source.class_index(name, where): folder for name, folder in options.folders.items()}
    for k, name in enumerate(source.classes):
        if k not in folders:
            raise DataError(where, f"the card gives no folder of masks for {name}", "one folder a class", "add it")
        if not (source.folder / folders[k]).is_dir():
            raise DataError(where, f"there is no folder {folders[k]!r} of masks", "the published folder", "check root")
    return folders
