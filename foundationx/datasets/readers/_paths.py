"""Which files of a dataset may be read: those inside the data root. Names are checked first, then where links lead.

Users link datasets into a data root, so a folder of the data root may be a link. What lies below it must stay inside
the folder that the link leads to, or inside the data root.
"""

from __future__ import annotations

import os
from pathlib import Path

from foundationx.core.errors import CardError, DataError


class DatasetFolder:
    """The folder of a dataset, which checks that files are inside it or inside the data root.

    Args:
        path: Folder of the dataset; may be a link.
        data_root: Folder of all datasets.
    """

    def __init__(self, path: Path, data_root: Path):
        self.path = path
        self._data_root = data_root
        self._roots = (os.path.realpath(data_root), os.path.realpath(path))

    def contains(self, path: str | Path) -> bool:
        """Whether a path, with links followed, is in the folder or in the data root."""
        return _is_inside(path, self._roots)

    def file(self, name: str, where: str) -> Path:
        """Path of a file that a card names.

        Args:
            name: Path relative to the folder; ``../other/list.csv`` is a file of another dataset in the data root.
            where: Key of the card, for messages.

        Raises:
            CardError: The name leads out of the data root, or is not a valid name.
            DataError: A link leads out of the data root.
        """
        path = _checked_path(self.path, name, self._data_root, where)
        top = Path(os.path.normpath(self._data_root))
        first, *below = path.relative_to(top).parts or ("",)
        other_dataset = top / first if below else top
        if not _is_inside(path, (*self._roots, os.path.realpath(other_dataset))):
            raise leads_out(name, where)
        return path


def dataset_folder(data_root: Path, root: str, where: str) -> Path:
    """The folder of a dataset, which may be a link. Raises CardError if its name leads out of the data root."""
    return _checked_path(data_root, root, data_root, where)


def checked_name(name: str, where: str) -> str:
    """A published file name, relative to the dataset's folder. Raises DataError if it leads out of the folder."""
    if not name:
        raise DataError(where, "the file name is empty", "the name of a file", "fix the row")
    up = ".." in name and ".." in name.split("/")
    if name[0] == "/" or "\\" in name or up or "\0" in name or not (name.isascii() or is_valid_name(name)):
        expected = "a path inside the dataset's folder, with forward slashes"
        raise DataError(where, f"the file name {name!r} leads out of the dataset's folder", expected, "fix the row")
    return name


def is_valid_name(name: str) -> bool:
    """Whether a file can have that name: no NUL, and no half of a surrogate pair."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def leads_out(name: str, where: str) -> DataError:
    """The error for a link that leads out of the data root."""
    expected = "files inside the data root, or inside the dataset's own folder if that is a link"
    fix = "move or copy the file into the data root"
    return DataError(where, f"{name} is a link that leads out of the data root", expected, fix)


def _is_inside(path: str | Path, roots: tuple[str, ...]) -> bool:
    real = os.path.realpath(path)
    return any(os.path.commonpath([real, root]) == root for root in roots)


def _checked_path(folder: Path, name: str, data_root: Path, where: str) -> Path:
    """``folder/name`` without ``..``. Raises CardError if it leads out of the data root."""
    path = Path(os.path.normpath(folder / name)) if is_valid_name(name) else None
    if path is None or not path.is_relative_to(os.path.normpath(data_root)):
        fix = "correct the path, or link the folder into the data root"
        raise CardError(where, f"{name!r} is outside the data root", f"a path in {data_root}", fix)
    return path
