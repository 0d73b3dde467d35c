"""Where the files of a dataset may be: inside the data root. Names are looked at first, then where links lead.

Users link datasets into a data root, so a folder of the data root may be a link; what lies below it must stay inside
the folder that it leads to, or inside the data root.
"""

from __future__ import annotations

import os
from pathlib import Path

from foundationx.core.errors import CardError, DataError


def roots_of(data_root: Path, folder: Path) -> tuple[str, ...]:
    """Where links may lead that stand in a dataset's folder: the data root and the folder itself, without links."""
    return os.path.realpath(data_root), os.path.realpath(folder)


def is_inside(path: str | Path, roots: tuple[str, ...]) -> bool:
    """Whether a path, with links followed, is in one of the folders."""
    real = os.path.realpath(path)
    return any(os.path.commonpath([real, root]) == root for root in roots)


def is_nameable(name: str) -> bool:
    """Whether a file can have that name: whole characters, none of them NUL."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def dataset_folder(data_root: Path, root: str, where: str) -> Path:
    """The folder of a dataset, which may be a link. Raises CardError where its name leads out of the data root."""
    return _lexical(data_root, root, data_root, where)


def file_of_card(folder: Path, file: str, data_root: Path, where: str) -> Path:
    """A file that a card names.

    Args:
        folder: of the dataset.
        file: relative to it; ``../other/list.csv`` is a file of another dataset in the data root.
        data_root: folder of all datasets.
        where: key of the card, for messages.

    Raises:
        CardError: the name leads out of the data root, or cannot be one.
        DataError: a link leads out of it.
    """
    path = _lexical(folder, file, data_root, where)
    top = Path(os.path.normpath(data_root))
    first, *below = path.relative_to(top).parts or ("",)
    if not is_inside(path, roots_of(data_root, top / first if below else top) + roots_of(folder, folder)):
        raise leads_out(file, where)
    return path


def _lexical(folder: Path, name: str, data_root: Path, where: str) -> Path:
    path = Path(os.path.normpath(folder / name)) if is_nameable(name) else None
    if path is None or not path.is_relative_to(os.path.normpath(data_root)):
        found = f"{name!r} is outside the data root"
        raise CardError(
            where, found, f"a path in {data_root}", "correct the path, or link the folder into the data root"
        )
    return path


def leads_out(name: str, where: str) -> DataError:
    """The error for a link that leads out of the data root."""
    expected = "files inside the data root, or inside the dataset's own folder where that is a link"
    return DataError(where, f"{name} is a link that leads out of the data root", expected, "copy the file, or move it")
