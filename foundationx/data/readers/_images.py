"""Where the files of a dataset are: published names to paths, each folder listed once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundationx.data.readers._files import MissingFileError
from foundationx.errors import DataError
from foundationx.registry.schema import template_fields


class Images:
    """Files of one dataset folder, and the folders in which images of the current annotation file are looked for.

    Args:
        folder: of the dataset.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.folders: tuple[str, ...] = ("",)
        self._listings: dict[str, frozenset[str]] = {}
        self._place: dict[str, str] = {}
        self._suffix, self._template = "", None

    def look_in(self, patterns: Sequence[str], suffix: str, template: str | None) -> None:
        """Sets where images are.

        Args:
            patterns: folders relative to the dataset's; ``*`` and ``?`` stand for any name.
            suffix: put behind the published names.
            template: makes the published name from columns (``files/p{subject_id:.2}/{dicom_id}``).

        Raises:
            DataError: a pattern matches no folder.
        """
        self.folders = tuple(dict.fromkeys(found for pattern in patterns for found in self.matching(pattern)))
        self._suffix, self._template = suffix, template
        self._place = {}
        if len(self.folders) > 1:
            self._place = _places({folder: self.files(folder) for folder in self.folders})

    def path(self, name: str, where: str, cells: Mapping[str, object] | None = None) -> str:
        """Path of an image relative to the dataset's folder.

        Args:
            name: as published.
            where: place of the name, for messages.
            cells: the image's row, for the template.

        Raises:
            DataError: the name is empty or leads elsewhere, a column of the template is empty, or the file stands in
                several of the folders.
        """
        if self._template is not None:
            name = self._filled(cells or {}, where)
        name = inside(name, where) + self._suffix
        if len(self.folders) == 1:
            return f"{self.folders[0]}/{name}" if self.folders[0] else name
        place = self._place.get(name) or self._in_subfolder(name)
        if place == AMBIGUOUS:
            raise DataError(where, f"{name} stands in several of {_short(self.folders)}", "one file", "remove one")
        if place is None:
            mend = "download it, or go on without it by on_bad_sample='skip'"
            raise MissingFileError(where, f"{name} is in none of {_short(self.folders)}", "a file that exists", mend)
        return f"{place}/{name}" if place else name

    def files(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder of the dataset, without hidden ones; none where there is no such folder.

        Every folder is listed once: asking the disk once a file would take minutes for a large dataset.
        """
        if folder not in self._listings:
            self._listings[folder] = _list_files(os.path.join(self.folder, folder))
        return self._listings[folder]

    def require(self, path: str, where: str) -> None:
        """Raises DataError where a file of the dataset does not exist."""
        folder, _, name = path.rpartition("/")
        names = self._listings.get(folder)
        if name not in (self.files(folder) if names is None else names):
            mend = "download it, or go on without it by on_bad_sample='skip'"
            raise MissingFileError(where, f"{path} does not exist in {self.folder}", "a file that exists", mend)

    def matching(self, pattern: str, expected: str = "the folder of the images") -> tuple[str, ...]:
        """Folders of the dataset that a pattern names, in alphabetical order. Raises DataError where there is none."""
        if not any(sign in pattern for sign in "*?"):
            found = [pattern] if (self.folder / pattern).is_dir() else []
        else:
            found = sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern) if path.is_dir())
        if not found:
            where, text = str(self.folder), f"there is no folder {pattern!r}"
            raise MissingFileError(where, text, expected, "check root, and the folder in the card")
        return tuple(found)

    def _in_subfolder(self, name: str) -> str | None:
        """The folder whose subfolder holds a name such as ``tb/tb0005.png``."""
        inner, slash, base = name.rpartition("/")
        if not slash:
            return None
        found = [folder for folder in self.folders if base in self.files(f"{folder}/{inner}" if folder else inner)]
        return (found[0] if len(found) == 1 else AMBIGUOUS) if found else None

    def _filled(self, cells: Mapping[str, object], where: str) -> str:
        for column in template_fields(self._template):
            if cells.get(column) in (None, ""):
                raise DataError(where, f"the column {column!r} is empty", "a value", "mend the row")
        return self._template.format_map({column: str(cells[column]) for column in template_fields(self._template)})


AMBIGUOUS = "\0"
"""Stands for "in several folders" where a folder is looked up."""


def inside(name: str, where: str) -> str:
    """The name of a file, which must lead into the dataset's folder. Raises DataError."""
    if not name:
        raise DataError(where, "names no file", "the name of a file", "mend the row")
    if name[0] == "/" or "\\" in name or "\0" in name or (".." in name and ".." in name.split("/")):
        expected = "a path inside the dataset's folder, with forward slashes"
        raise DataError(where, f"the file name {name!r} leads elsewhere", expected, "mend the row")
    return name


def _places(listings: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """The folder of each file name."""
    places: dict[str, str] = {}
    for folder, names in listings.items():
        for name in names:
            places[name] = AMBIGUOUS if name in places else folder
    return places


def _short(folders: Sequence[str]) -> str:
    shown = ", ".join(map(repr, folders[:3]))
    return f"{shown} and {len(folders) - 3:,} other folders" if len(folders) > 3 else shown


def _list_files(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.name[0] != "." and not entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        found = f"cannot be listed ({error.strerror})"
        raise DataError(folder[:200], found, "a folder that may be read", "check its name and permissions") from None
