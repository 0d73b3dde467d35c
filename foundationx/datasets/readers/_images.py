"""The files of a dataset: published names to paths, with one listing per folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from foundationx.core.errors import DataError
from foundationx.datasets.cards.schema import alternatives, template_fields
from foundationx.datasets.readers._files import MissingFileError
from foundationx.datasets.readers._near_names import NearNames
from foundationx.datasets.readers._paths import DatasetFolder, are_plain_names, checked_name, is_valid_name, leads_out
from foundationx.datasets.readers._spelling import Spellings
from foundationx.datasets.readers._stray import image_files, is_stray_folder
from foundationx.datasets.stores import store as stores


class Images:
    """Files of a dataset's folder, and the folders that contain the images of the current annotation file.

    Args:
        folder: Folder of the dataset.
    """

    def __init__(self, folder: DatasetFolder):
        self.folder = folder.path
        self.folders: tuple[str, ...] = ("",)
        self._dataset = folder
        self._top = str(folder.path)
        self._listings: dict[str, frozenset[str]] = {}
        self._inside: dict[str, bool] = {"": True}
        self._linked: dict[str, bool] = {"": False}
        self._real_top = os.path.realpath(folder.path)
        self._folder_of: dict[str, str] = {}
        self._near = NearNames(self._files_if_inside, self._subfolders_if_inside)
        self._spellings = Spellings(self._files_if_inside, self._subfolders_if_inside)
        self.aliases: dict[str, str] = {}
        """Path of the file that a link in the dataset's folder leads to, by the link's path."""
        self._suffixes: tuple[str, ...] = ("",)
        self._templates: tuple[str, ...] = ()
        self.published: dict[str, str] = {}
        """Published path of each image whose file has another name: the card's first suffix, and folder."""

    def set_folders(self, patterns: Sequence[str], suffix: str, template: str | None) -> None:
        """Sets the folders of the images, and how their names are built.

        Args:
            patterns: Folders relative to the dataset's folder; ``*`` and ``?`` match any name. The first that is there
                of ``A | B``.
            suffix: Appended to the published names; alternatives as in :meth:`path`.
            template: Builds the published name from columns (``files/p{subject_id:.2}/{dicom_id}``); may have
                alternatives, too.

        Raises:
            DataError: A pattern matches no folder.
        """
        self.folders = tuple(dict.fromkeys(folder for pattern in patterns for folder in self.matching(pattern)))
        self._suffixes, self._templates = alternatives(suffix), alternatives(template) if template else ()
        self._folder_of = {}
        if len(self.folders) > 1:
            self._folder_of = _folders_by_name({folder: self.files(folder) for folder in self.folders})

    def path(self, name: str, where: str, cells: Mapping[str, object] | None = None) -> str:
        """Path of an image relative to the dataset's folder.

        A copy of the dataset may have other suffixes or folders than the published one. The file is the first that is
        there of: each template with each suffix. Suffixes after the first also replace that of the name: with
        ``.dcm | .png``, ``a`` is ``a.dcm`` or ``a.png``, and with `` | .png``, ``a.jpg`` is ``a.jpg`` or ``a.png``.

        Args:
            name: Published name.
            where: Location of the name, for messages.
            cells: Row of the image, for the template.

        Raises:
            DataError: The name is empty or leads out of the folder, a column of the template is empty, or several of
                the folders contain the file.
        """
        names = [fill_template(one, cells or {}, where) for one in self._templates] or [name]
        first = checked_name(names[0], where) + self._suffixes[0]
        if len(names) == len(self._suffixes) == 1:
            return self._spelled(first, where)
        for other in (with_suffix for one in names for with_suffix in _suffixed(one, self._suffixes)):
            try:
                path = self._in_folders(checked_name(other, where), "")
            except MissingFileError:
                continue
            folder, _, base = path.rpartition("/")
            if base in self.files(folder):
                if other != first:
                    self.published[path] = f"{path.removesuffix(other)}{first}"
                return path
        return self._spelled(first, where)

    def paths(self, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str | None]:
        """Paths of many images; None where :meth:`path` or :meth:`require` would raise.

        Args:
            names: Published names.
            columns: Columns of the template, each with one cell per image.
        """
        if len(self._suffixes) > 1 or len(self._templates) > 1:
            return [self._found(name, row) for name, row in zip(names, _rows_of(columns, len(names)), strict=True)]
        if self._templates:
            names = _filled(self._templates[0], columns, len(names))
        if not are_plain_names(names):
            names = [name if are_plain_names((name,)) else "" for name in names]
        suffix, folder = self._suffixes[0], self.folders[0]
        if len(self.folders) > 1:
            return [self._found(name, {}, filled=True) for name in names]
        before = f"{folder}/" if folder else ""
        paths = [f"{before}{name}{suffix}" for name in names] if before or suffix else names
        found = self._existing(paths)
        return [None if path in self.aliases else path for path in found] if self.aliases else found

    def _existing(self, paths: Sequence[str]) -> list[str | None]:
        """The paths, None for those that do not exist."""
        first, last = (path.rpartition("/")[0] for path in (min(paths, default=""), max(paths, default="")))
        start = len(first) + 1 if first else 0
        if first == last and self._files_if_inside(first).issuperset([path[start:] for path in paths]):
            return list(paths)  # what lies between two paths of one folder begins with that folder
        found: list[str | None] = []
        listings, known, names = self._listings, "\0", frozenset[str]()
        for path in paths:
            folder, _, name = path.rpartition("/")
            if folder != known:
                known, names = folder, listings.get(folder) or self._files_if_inside(folder)
            found.append(path if name in names else None)
        return found

    def _files_if_inside(self, folder: str) -> frozenset[str]:
        try:
            return self.files(folder)
        except DataError:
            return frozenset()

    def _subfolders_if_inside(self, folder: str) -> list[str]:
        try:
            return self.subfolders(folder)
        except (DataError, OSError):
            return []

    def _found(self, name: str, cells: Mapping[str, object], filled: bool = False) -> str | None:
        """The path of an image that exists, else None; ``filled``: the template's name is already made."""
        try:
            path = (
                self._in_folders(checked_name(name, "") + self._suffixes[0], "")
                if filled
                else self.path(name, "", cells)
            )
            self.require(path, "")
        except DataError:
            return None
        return path

    def _spelled(self, name: str, where: str) -> str:
        """The path of a file, as the disk spells it if only letter case, Unicode or percent-encoding differ."""
        try:
            path = self._in_folders(name, where)
            folder, _, base = path.rpartition("/")
            return path if base in self.files(folder) else self._spellings.find(name, self.folders) or path
        except MissingFileError:
            path = self._spellings.find(name, self.folders) or ""
            if not path:
                raise
            return path

    def _in_folders(self, name: str, where: str) -> str:
        """The path of a file in one of the folders of the images, if there are several; else the path in that one."""
        if len(self.folders) == 1:
            return f"{self.folders[0]}/{name}" if self.folders[0] else name
        folder = self._folder_of.get(name) or self._in_subfolder(name)
        if folder == AMBIGUOUS:
            found = f"{name} is in several of {_short(self.folders)}"
            raise DataError(where, found, "one file of that name", "remove the duplicates")
        if folder is None:
            raise self._missing(name, where, f"{name} is in none of {_short(self.folders)}")
        return f"{folder}/{name}" if folder else name

    def files(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder of the dataset that can be images; empty if the folder does not exist.

        Every folder is listed once: one file system call per file would take minutes for a large dataset. Links to
        files outside the data root are skipped.

        Raises:
            DataError: The folder is a link that leads out of the data root, or cannot be listed.
        """
        if folder not in self._listings:
            if not self._stays_inside(folder):
                raise leads_out(folder, str(self.folder))
            names, links = _list_files(os.path.join(self._top, folder), self._dataset)
            self._listings[folder] = names
            self._note_links(folder, names if self._is_linked(folder) else names & links)
        return self._listings[folder]

    def _is_linked(self, folder: str) -> bool:
        """Whether a folder is a link, or is below one that is a link."""
        known = self._linked.get(folder)
        if known is None:
            parent = folder.rpartition("/")[0]
            known = self._linked[folder] = self._is_linked(parent) or os.path.islink(os.path.join(self._top, folder))
        return known

    def _note_links(self, folder: str, names: Iterable[str]) -> None:
        """Notes where links lead, if it is within the dataset's folder: the same file may be listed there."""
        for name in names:
            path = f"{folder}/{name}" if folder else name
            real = os.path.realpath(os.path.join(self._top, path))
            if real.startswith(f"{self._real_top}/") and (target := real[len(self._real_top) + 1 :]) != path:
                self.aliases[path] = target

    def require(self, path: str, where: str) -> None:
        """Raises DataError if a file of the dataset does not exist, or is a link that leads out of the data root."""
        folder, _, name = path.rpartition("/")
        names = self._listings.get(folder)
        if name not in (self.files(folder) if names is None else names):
            if os.path.islink(os.path.join(self.folder, path)) and os.path.exists(os.path.join(self.folder, path)):
                raise leads_out(path, where)
            top = self.folders[0] if len(self.folders) == 1 else ""
            name = path.removeprefix(f"{top}/") if top else path
            raise self._missing(name, where, f"{path} does not exist in {self.folder}")

    def _missing(self, name: str, where: str, found: str) -> MissingFileError:
        """The error for a missing image, with the file that was probably meant.

        While :meth:`paths` tries alternatives, ``where`` is empty and nobody reads the message.
        """
        hint, fix = self._near.hint(name, self.folders) if where else ("", "")
        return MissingFileError(where, found, hint or "an existing file", fix or MISSING_IMAGE_FIX)

    def _stays_inside(self, folder: str) -> bool:
        """Whether a folder is inside the data root: its parent is, and it is no link that leads out.

        Resolving every path from the top would dominate the run time for datasets with one folder per study.
        """
        known = self._inside.get(folder)
        if known is None:
            parent, _, name = folder.rpartition("/")
            path = os.path.join(self._top, folder)
            plain = name not in ("", ".", "..") and self._stays_inside(parent) and not os.path.islink(path)
            known = self._inside[folder] = plain or self._dataset.contains(path)
        return known

    def matching(self, pattern: str, expected: str = "the folder of the images") -> tuple[str, ...]:
        """Folders of the dataset that match a pattern (of ``A | B`` the first that is there), in alphabetical order.

        Raises:
            DataError: No folder matches, or one leads out of the data root.
        """
        for one in alternatives(pattern):
            valid = is_valid_name(one) and not one.startswith("/")
            parts = [part for part in one.split("/") if part not in ("", ".")]
            if folders := sorted(set(self._expand("", parts))) if valid else []:
                return tuple(folders)
        fix = "check root, and the folder in the card"
        raise MissingFileError(str(self.folder), f"there is no folder {pattern!r}", expected, fix)

    def _expand(self, folder: str, parts: Sequence[str]) -> Iterator[str]:
        """Folders below ``folder`` that match; only folders inside the data root are listed."""
        if parts and parts[0] == "**":
            yield from self._expand(folder, parts[1:])
            for inner, is_link in self._folders(folder):
                if not is_link:
                    yield from self._expand(inner, parts)
        elif parts and any(sign in parts[0] for sign in "*?"):
            for inner in [*(name for name, _ in self._folders(folder)), *self._stores(folder, parts[0])]:
                if fnmatchcase(inner.rpartition("/")[2], parts[0]):
                    yield from self._expand(inner if parts[1:] else self._unpacked_twice(inner), parts[1:])
        elif parts:
            inner = f"{folder}/{parts[0]}" if folder else parts[0]
            if stores.is_folder(os.path.join(self.folder, inner)):
                yield from self._expand(inner if parts[1:] else self._unpacked_twice(inner), parts[1:])
        elif self._dataset.contains(os.path.join(self.folder, folder)):
            yield folder
        else:
            raise leads_out(folder, str(self.folder))

    def _unpacked_twice(self, folder: str) -> str:
        """``mask/mask`` for a folder ``mask`` without files that holds nothing but a folder of its own name.

        Unpacking ``mask.zip`` into a folder of that name leaves such a tree.
        """
        inner = f"{folder}/{folder.rpartition('/')[2]}"
        nested = [name for name, _ in self._folders(folder)] == [inner] and not self.files(folder)
        return inner if nested else folder

    def _folders(self, folder: str) -> list[tuple[str, bool]]:
        """Subfolders of a folder that belong to the dataset, and whether they are links."""
        path = os.path.join(self.folder, folder)
        if not self._dataset.contains(path):
            raise leads_out(folder, str(self.folder))
        if (packed := stores.listing(path)) is not None:
            return [(f"{folder}/{name}", False) for name in packed[1] if not is_stray_folder(name)]
        with os.scandir(path) as entries:
            names = [
                (entry.name, entry.is_symlink())
                for entry in entries
                if not is_stray_folder(entry.name) and _is(entry.is_dir)
            ]
        return [(f"{folder}/{name}" if folder else name, is_link) for name, is_link in names]

    def _stores(self, folder: str, pattern: str) -> Iterator[str]:
        """Stores in a folder, if a pattern asks for them by their suffix: ``*.zip``."""
        if stores.is_store(pattern):
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                names = [entry.name for entry in entries if stores.is_store(entry.name) and _is(entry.is_file)]
            yield from (f"{folder}/{name}" if folder else name for name in names)

    def subfolders(self, folder: str) -> list[str]:
        """Names of the folders in a folder of the dataset, in alphabetical order; a folder may lie in a store."""
        return sorted(inner.rpartition("/")[2] for inner, _ in self._folders(folder))

    def _in_subfolder(self, name: str) -> str | None:
        """The folder whose subfolder contains a name such as ``tb/tb0005.png``."""
        inner, slash, base = name.rpartition("/")
        if not slash:
            return None
        folders = [folder for folder in self.folders if base in self.files(f"{folder}/{inner}" if folder else inner)]
        return (folders[0] if len(folders) == 1 else AMBIGUOUS) if folders else None


AMBIGUOUS = "\0"
"""Marks a file name that is in several folders."""

MISSING_IMAGE_FIX = "download it, or skip such images with on_bad_sample='skip'"


IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".gif", ".mha", ".mhd", ".img", ".webp"}
)
"""Suffixes that another one may replace; what follows the last dot of a DICOM identifier is none."""


def _suffixed(name: str, suffixes: Sequence[str]) -> Iterator[str]:
    """The name with each suffix appended, and those after the first also in place of an image's suffix."""
    stem, suffix = os.path.splitext(name)
    for index, other in enumerate(suffixes):
        yield name + other
        if index and suffix.lower() in IMAGE_SUFFIXES:
            yield stem + other


def fill_template(template: str, cells: Mapping[str, object], where: str) -> str:
    """A template such as ``files/p{subject_id:.2}/{dicom_id}`` filled by a row. Raises DataError if a cell is empty."""
    columns = template_fields(template)
    for column in columns:
        if cells.get(column) in (None, ""):
            raise DataError(where, f"the column {column!r} is empty", "a value", "fix the row")
    return template.format_map({column: str(cells[column]) for column in columns})


def _rows_of(columns: Mapping[str, Sequence[str]], count: int) -> Iterator[dict[str, str]]:
    """The cells of each row."""
    if not columns:
        return iter([{}] * count)
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _filled(template: str, columns: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """The template filled with each row; empty if a cell is."""
    rows = _rows_of({column: columns[column] for column in template_fields(template)}, count)
    return [template.format_map(row) if all(row.values()) else "" for row in rows]


def _folders_by_name(listings: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """The folder of each file name."""
    folders: dict[str, str] = {}
    for folder, names in listings.items():
        for name in names:
            folders[name] = AMBIGUOUS if name in folders else folder
    return folders


def _short(folders: Sequence[str]) -> str:
    shown = ", ".join(map(repr, folders[:3]))
    return f"{shown} and {len(folders) - 3:,} other folders" if len(folders) > 3 else shown


def _list_files(folder: str, dataset: DatasetFolder) -> tuple[frozenset[str], set[str]]:
    """Regular files of a folder and links to such inside the data root; and which of them are links.

    Raises:
        DataError: The folder cannot be listed.
    """
    if (packed := stores.listing(folder)) is not None:
        return frozenset(image_files(packed[0])), set()
    names: list[str] = []
    links: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
                elif entry.is_symlink() and _is(entry.is_file):
                    links.add(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset(), set()
    except OSError as error:
        found = f"cannot be listed ({error.strerror})"
        raise DataError(folder[:200], found, "a readable folder", "check its name and permissions") from None
    links = {name for name in links if dataset.contains(os.path.join(folder, name))}
    return frozenset(image_files([*names, *links])), links


def _is(kind: Callable[[], bool]) -> bool:
    """The kind of a folder's entry; False for a link that leads back to itself."""
    try:
        return kind()
    except OSError:
        return False
