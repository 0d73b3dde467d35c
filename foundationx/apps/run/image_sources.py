"""The images that a user names: files, folders, patterns, lists and archives, each with a name of its own."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from foundationx.core.errors import DataError
from foundationx.datasets.readers._stray import image_files, is_stray_folder
from foundationx.datasets.stores import store as stores

LIST = ".txt"
"""Ending of a list of images, one per line."""


def find_images(sources: Iterable[str | Path]) -> dict[str, Path]:
    """The images that the sources stand for, each once.

    Args:
        sources: Image files; folders and zip, tar and Parquet files, which are searched at every depth; patterns such
            as ``scans/**/*.dcm``; lists (``.txt``) with one of these per line, relative to the list's folder.

    Returns:
        Name -> path. A name is the path below the folder that all images share, with ``/``.

    Raises:
        DataError: A source does not exist or holds no image.
    """
    found: dict[Path, None] = {}
    for source in sources:
        images = list(_images(str(source)))
        if not images:
            raise DataError(str(source), "holds no image", "image files, or a folder of them", "check the path")
        found.update(dict.fromkeys(images))
    paths = list(found)
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return {PurePosixPath(path.relative_to(common)).as_posix(): path for path in paths}


def _images(source: str) -> Iterator[Path]:
    """Absolute paths of the images of one source."""
    path = Path(os.path.abspath(source))
    if path.suffix.lower() == LIST and path.is_file():
        yield from _listed(path)
    elif stores.is_folder(path):
        yield from _below(path)
    elif path.exists() or stores.is_file(path):
        yield path
    elif glob.has_magic(source):
        for match in sorted(glob.glob(source, recursive=True)):
            if os.path.isfile(match):
                yield Path(os.path.abspath(match))
    else:
        fix = "check the path; put patterns in quotes"
        raise DataError(source, "there is no such file or folder", "an image, folder, pattern, list or archive", fix)


def _listed(path: Path) -> Iterator[Path]:
    """Images of a list: each line is a source."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"cannot be read ({error})", "a text file in UTF-8", "check the file") from error
    for line in lines:
        if name := line.strip():
            if name.lower().endswith(LIST):
                raise DataError(str(path), f"names another list, {name}", "images", "give both lists")
            yield from _images(os.path.join(path.parent, name))


def _below(folder: Path) -> Iterator[Path]:
    """Images of a folder on disk or in an archive, and of those below it, in the order of their names."""
    inside = stores.listing(folder)
    if inside is None:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        names = [entry.name for entry in entries if entry.is_file()]
        folders = [entry.name for entry in entries if entry.is_dir() and not entry.is_symlink()]
    else:
        names, folders = sorted(inside[0]), sorted(inside[1])
    for name in image_files(names):
        yield folder / name
    for name in folders:
        if not is_stray_folder(name):
            yield from _below(folder / name)
