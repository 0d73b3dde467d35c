"""Where the files of a dataset are: published names to paths, each folder listed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.readers._bounds import is_inside, is_nameable, leads_out, roots_of
from foundationx.datasets.readers._files import MissingFileError


class Images:
    """Files of one dataset folder, and the folders in which images of the current annotation file are looked for.

    Args:
        folder: of the dataset.
        data_root: links may lead into it, and into the dataset's folder; nowhere else.
    """

    def __init__(self, folder: Path, data_root: Path):
        self.folder = folder
        self._roots = roots_of(data_root, folder)
        self.folders: tuple[str, ...] = ("",)
        self._top = str(folder)
        self._listings: dict[str, frozenset[str]] = {}
        self._inside: dict[str, bool] = {"": True}
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
            fix = "download it, or go on without it by on_bad_sample='skip'"
            raise MissingFileError(where, f"{name} is in none of {_short(self.folders)}", "a file that exists", fix)
        return f"{place}/{name}" if place else name

    def files(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder of the dataset, without hidden ones; none where there is no such folder.

        Every folder is listed once: asking the disk once a file would take minutes for a large dataset. Links to files
        outside of the data root are passed over.

        Raises:
            DataError: the folder is a link that leads out of the data root, or may not be listed.
        """
        if folder not in self._listings:
            if not self._stays_inside(folder):
                raise leads_out(folder, str(self.folder))
            self._listings[folder] = _list_files(os.path.join(self._top, folder), self._roots)
        return self._listings[folder]

    def require(self, path: str, where: str) -> None:
        """Raises DataError where a file of the dataset does not exist, or is a link that leads out of the data root."""
        folder, _, name = path.rpartition("/")
        names = self._listings.get(folder)
        if name not in (self.files(folder) if names is None else names):
            if os.path.islink(os.path.join(self.folder, path)) and os.path.exists(os.path.join(self.folder, path)):
                raise leads_out(path, where)
            fix = "download it, or go on without it by on_bad_sample='skip'"
            raise MissingFileError(where, f"{path} does not exist in {self.folder}", "a file that exists", fix)

    def _stays_inside(self, folder: str) -> bool:
        """Whether a folder is inside the roots: it is where its parent is, unless it is a link.

        Following every path from the top would cost more than all else where each study has a folder.
        """
        known = self._inside.get(folder)
        if known is None:
            parent, _, name = folder.rpartition("/")
            path = os.path.join(self._top, folder)
            plain = name not in ("", ".", "..") and self._stays_inside(parent) and not os.path.islink(path)
            known = self._inside[folder] = plain or is_inside(path, self._roots)
        return known

    def matching(self, pattern: str, expected: str = "the folder of the images") -> tuple[str, ...]:
        """Folders of the dataset that a pattern names, in alphabetical order.

        Raises:
            DataError: there is none, or one leads out of the data root.
        """
        good = is_nameable(pattern) and not pattern.startswith("/")
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        found = sorted(set(self._expand("", parts))) if good else []
        if not found:
            where, text = str(self.folder), f"there is no folder {pattern!r}"
            raise MissingFileError(where, text, expected, "check root, and the folder in the card")
        return tuple(found)

    def _expand(self, folder: str, parts: Sequence[str]) -> Iterator[str]:
        """Folders below ``folder`` that match; listed are only such whose place is known to be inside."""
        if parts and parts[0] == "**":
            yield from self._expand(folder, parts[1:])
            for inner, is_link in self._folders(folder):
                if not is_link:
                    yield from self._expand(inner, parts)
        elif parts and any(sign in parts[0] for sign in "*?"):
            for inner, _ in self._folders(folder):
                if fnmatchcase(inner.rpartition("/")[2], parts[0]):
                    yield from self._expand(inner, parts[1:])
        elif parts:
            inner = f"{folder}/{parts[0]}" if folder else parts[0]
            if os.path.isdir(os.path.join(self.folder, inner)):
                yield from self._expand(inner, parts[1:])
        elif is_inside(os.path.join(self.folder, folder), self._roots):
            yield folder
        else:
            raise leads_out(folder, str(self.folder))

    def _folders(self, folder: str) -> list[tuple[str, bool]]:
        """Folders in a folder, and whether they are links."""
        path = os.path.join(self.folder, folder)
        if not is_inside(path, self._roots):
            raise leads_out(folder, str(self.folder))
        with os.scandir(path) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if _is(entry.is_dir)]
        return [(f"{folder}/{name}" if folder else name, is_link) for name, is_link in found]

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
                raise DataError(where, f"the column {column!r} is empty", "a value", "fix the row")
        return self._template.format_map({column: str(cells[column]) for column in template_fields(self._template)})


AMBIGUOUS = "\0"
"""Stands for "in several folders" where a folder is looked up."""


def inside(name: str, where: str) -> str:
    """The name of a file, which must lead into the dataset's folder. Raises DataError."""
    if not name:
        raise DataError(where, "names no file", "the name of a file", "fix the row")
    up = ".." in name and ".." in name.split("/")
    if name[0] == "/" or "\\" in name or up or "\0" in name or not (name.isascii() or is_nameable(name)):
        expected = "a path inside the dataset's folder, with forward slashes"
        raise DataError(where, f"the file name {name!r} leads elsewhere", expected, "fix the row")
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


def _list_files(folder: str, roots: tuple[str, ...]) -> frozenset[str]:
    """Regular files of a folder, and links to such inside the roots. Raises DataError where it may not be listed."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.is_symlink()) for entry in entries if entry.name[0] != "." and _is(entry.is_file)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        found = f"cannot be listed ({error.strerror})"
        raise DataError(folder[:200], found, "a folder that may be read", "check its name and permissions") from None
    return frozenset(name for name, is_link in found if not is_link or is_inside(os.path.join(folder, name), roots))


def _is(kind: Callable[[], bool]) -> bool:
    """A question to a folder's entry; a link that leads back to itself is nothing."""
    try:
        return kind()
    except OSError:
        return False
