"""One folder of images per class; the folder's name is the label."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"labels"})


class Options(ReaderOptions):
    """Folders that are not classes."""

    negative: tuple[str, ...] = Field((), description="folders of images with none of the classes (NORMAL)")
    ignore: tuple[str, ...] = Field((), description="folders to skip")


def read(source: Source, options: Options) -> None:
    """Adds every file below the images folder: the class of its folder is present, all others are absent.

    Folders and files are read in alphabetical order; hidden and stray ones are skipped.

    Raises:
        DataError: A class has no folder, or a folder is neither a class nor negative nor ignored.
    """
    for images in source.images.folders:
        _add_folders(source, options, images)


def _add_folders(source: Source, options: Options, images: str) -> None:
    """Adds the class folders in one images folder."""
    top = source.folder / images
    source.images.files(images)  # rejects a folder outside the data root
    folders = source.images.subfolders(images)
    for index, published in enumerate(source.published):
        if not set(published) & set(folders):
            found = f"there is no folder {' or '.join(published)} for the class {source.classes[index]}"
            raise DataError(str(top), found, f"one of {', '.join(folders) or 'no folders'}", "correct the card")
    for folder in folders:
        inside = f"{images}/{folder}" if images else folder
        if folder in options.ignore:
            source.strings.ignored[folder] += len(source.images.files(inside))
            continue
        labels = _labels(source, options, folder, str(top / folder))
        for name in sorted(source.images.files(inside)):
            image = f"{inside}/{name}"
            with source.guard(image, image):
                source.add(image, image, labels)
                source.strings.absent[folder] += folder in options.negative


def _labels(source: Source, options: Options, folder: str, where: str) -> np.ndarray:
    """Labels (K,) of the images in a folder. Raises DataError if the card does not name it."""
    labels = source.labels(0.0)
    if folder not in options.negative:
        present = source.class_indices(folder, where, [*options.negative, *options.ignore])
        labels[sorted(source.names.undecided([folder]))] = np.nan
        labels[present] = 1.0
    return labels
