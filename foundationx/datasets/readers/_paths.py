"""Which files of a dataset may be read: those inside the data root. Names are checked first, then where links lead.

Users link datasets into a data root, so a folder of the data root may be a link. What lies below it must stay inside
the folder that the link leads to, or inside the data root.
"""

from __future__ import annotations

import difflib
import gzip
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from foundationx.core.errors import CardError, DataError
from foundationx.datasets.cards.schema import alternatives
from foundationx.datasets.readers._files import MissingFileError
from foundationx.datasets.stores import store as stores

_BLOCK = 2**20
"""Bytes that are compared at once."""


class DatasetFolder:
    """The folder of a dataset, which checks that files are inside it or inside the data root.

    Args:
        path: Folder of the dataset; may be a link.
        data_root: Folder of all datasets.
        root: Folder that the card names, to which ``../other/list.csv`` is relative; None: ``path``. It differs from
            ``path`` if the archive was unpacked to a folder below it.
    """

    def __init__(self, path: Path, data_root: Path, root: Path | None = None):
        self.path = path
        self._root = path if root is None else root
        self._data_root = data_root
        self._roots = (os.path.realpath(data_root), os.path.realpath(path))

    def contains(self, path: str | Path) -> bool:
        """Whether a path, with links followed, is in the folder or in the data root."""
        return is_inside(path, self._roots)

    def file(self, name: str, where: str) -> Path:
        """Path of a file that a card names.

        Args:
            name: Path relative to the folder; ``../other/list.csv`` is a file of another dataset in the data root.
            where: Key of the card, for messages.

        Raises:
            CardError: The name leads out of the data root, or is not a valid name.
            DataError: A link leads out of the data root.
        """
        outside = os.path.normpath(name).startswith("..")
        path = _checked_path(self._root if outside else self.path, name, self._data_root, where)
        top = Path(os.path.normpath(self._data_root))
        first, *below = path.relative_to(top).parts or ("",)
        other_dataset = top / first if below else top
        if not is_inside(path, (*self._roots, os.path.realpath(other_dataset))):
            raise leads_out(name, where)
        return path

    def choose(self, names: str, where: str) -> str:
        """The first of the alternative names ``A | B`` that is there, each packed (``.gz``) or unpacked, too.

        Args:
            names: Names as the card gives them.
            where: Key of the card, for messages.

        Raises:
            CardError: A name leads out of the data root.
            DataError: None is there, or two are and differ.
        """
        first, *others = self.existing(names, where) or [""]
        if not first:
            raise self._missing(alternatives(names), where)
        for other in others:
            if not _same_content(self.file(first, where), self.file(other, where)):
                found, fix = f"{first} and {other} are both there and differ", f"remove one, or name {first!r} alone"
                raise DataError(where, found, "one of them", fix)
        return first

    def existing(self, names: str, where: str) -> list[str]:
        """Those of the alternative names that are there, each packed or unpacked. Raises CardError as :meth:`file`."""
        packings = [(name, _other_packing(name)) for name in alternatives(names)]
        there = [next((name for name in pair if self._is_there(name, where)), "") for pair in packings]
        return list(dict.fromkeys(filter(None, there)))

    def store_files(self, name: str, where: str) -> list[str]:
        """Stores that a name or pattern such as ``data/train-*.parquet`` names, in alphabetical order.

        Args:
            name: Name relative to the folder; ``*`` and ``?`` match any name.
            where: Key of the card, for messages.

        Returns:
            Names relative to the folder; none if the name is that of another file.

        Raises:
            CardError: The name leads out of the data root.
            DataError: A link leads out of the data root.
        """
        if not stores.is_store(name):
            return []
        path = self.file(name, where)
        if not any(sign in name for sign in "*?"):
            return [name] if os.path.isfile(path) else []
        found = sorted(path.parent.glob(path.name)) if not any(sign in str(path.parent) for sign in "*?") else []
        inside = [file for file in found if file.is_file() and self.contains(file)]
        return [file.relative_to(os.path.normpath(self.path)).as_posix() for file in inside]

    def _is_there(self, name: str, where: str) -> bool:
        return bool(self.store_files(name, where)) or stores.is_file(self.file(name, where))

    def _missing(self, names: tuple[str, ...], where: str) -> MissingFileError:
        """The error for a file of which no alternative is there; names the nearest file of its folder."""
        path = self.file(names[0], where)
        found = f"there is no such file ({path})"
        if len(names) > 1:
            found = f"there is none of {', '.join(names)} in {self.path}"
        try:
            listed = os.listdir(path.parent) if self.contains(path.parent) else []
            near = difflib.get_close_matches(path.name, listed, n=1)
        except OSError:
            near = []
        expected = f"the published file; did you mean {near[0]!r}?" if near else "the published file"
        fix = "check root and file of the card"
        fix += f", or write `{' | '.join((*names, near[0]))}` in it" if near else ""
        return MissingFileError(names[0], found, expected, fix)


def checked_folder(data_root: Path, root: str, where: str) -> Path:
    """The folder of a dataset, which may be a link. Raises CardError if its name leads out of the data root."""
    return _checked_path(data_root, root, data_root, where)


def checked_name(name: str, where: str) -> str:
    """A published file name, relative to the dataset's folder, without what changes no path: ``./a//b`` is ``a/b``.

    Raises:
        DataError: It is empty or leads out of the folder.
    """
    if not isinstance(name, str) or not name.strip("./"):
        raise DataError(where, "the file name is empty", "the name of a file", "fix the row")
    up = ".." in name and ".." in name.split("/")
    if "\\" in name:
        found, fix = f"the file name {name!r} holds a backslash", "write the table's paths with /, or correct the row"
        raise DataError(where, found, "a path with forward slashes", fix)
    if name[0] == "/" or up or "\0" in name or not (name.isascii() or is_valid_name(name)):
        expected = "a path inside the dataset's folder"
        raise DataError(where, f"the file name {name!r} leads out of the dataset's folder", expected, "fix the row")
    return plain_path(name)


def plain_path(name: str) -> str:
    """A relative path without what changes nothing: ``./a//b`` is ``a/b``."""
    if name.startswith("/") or not ("//" in name or "./" in name or name.endswith(("/", "/."))):
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


_NOT_PLAIN = ("\n\n", "\n/", "..", "./", "//", "/\n", "/.\n", "\n.\n", "\\", "\0")


def are_plain_names(names: Sequence[str]) -> bool:
    """Whether :func:`checked_name` accepts all names, judged quickly: some that it accepts are not plain, too."""
    text = "\n".join(["", *names, ""])
    return text.isascii() and not any(part in text for part in _NOT_PLAIN)


def is_valid_name(name: str) -> bool:
    """Whether a file can have that name: no NUL, and no half of a surrogate pair."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def leads_out(name: str, where: str) -> DataError:
    """The error for a link that leads out of the data root."""
    expected = "files inside the data root, or inside the dataset's own folder if that is a link"
    fix = "move or copy the file into the data root"
    return DataError(where, f"{name} is a link that leads out of the data root", expected, fix)


def is_inside(path: str | Path, roots: tuple[str, ...]) -> bool:
    """Whether a path, with links followed, is in one of the folders ``roots``."""
    real = os.path.realpath(path)
    return any(os.path.commonpath([real, root]) == root for root in roots)


def _checked_path(folder: Path, name: str, data_root: Path, where: str) -> Path:
    """``folder/name`` without ``..``. Raises CardError if it leads out of the data root."""
    path = Path(os.path.normpath(folder / name)) if is_valid_name(name) else None
    if path is None or not path.is_relative_to(os.path.normpath(data_root)):
        fix = "correct the path, or link the folder into the data root"
        raise CardError(where, f"{name!r} is outside the data root", f"a path in {data_root}", fix)
    return path


def _other_packing(name: str) -> str:
    """The name of a file packed by gzip, or unpacked."""
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes, after unpacking. A damaged archive equals nothing."""
    try:
        with _unpacked(one) as first, _unpacked(other) as second:
            while (block := first.read(_BLOCK)) == second.read(_BLOCK):
                if not block:
                    return True
            return False
    except (OSError, EOFError, zlib.error):
        return False


def _unpacked(path: Path) -> io.BufferedIOBase:
    file = stores.open_binary(path)
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
