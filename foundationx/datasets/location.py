"""Where a dataset lies under the data root: in its folder, or in a folder that its archive was unpacked to below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import alternatives
from foundationx.datasets.readers._paths import checked_folder, is_inside
from foundationx.datasets.stores import store as stores

MAX_DEPTH = 5
"""Levels below the dataset's folder that are searched (``physionet.org/files/vindr-cxr/1.0.0`` are four)."""

MAX_FOLDERS = 300
"""Folders of one level that are searched; a level with more holds studies or patients, not archives."""


def dataset_folder(card: Card, data_root: Path, root: str | None = None) -> Path:
    """The folder to which the names of a card are relative.

    Archives often unpack to a folder of their own (``TBX11K``, ``COVIDGR_1.0``, ``ChinaSet_AllFiles`` twice). If
    nothing that the card names is in the dataset's folder itself, the folders below it are searched, level by level.

    Args:
        card: Card of the dataset.
        data_root: Folder of all datasets.
        root: Folder under ``data_root``; None: that of the card.

    Returns:
        The folder below that holds most of the files and folders that the card names, or else the dataset's folder.

    Raises:
        CardError: The name of the folder leads out of the data root.
        DataError: Several folders of one level hold equally many of them.
    """
    folder = checked_folder(data_root, card.root if root is None else root, f"{card.file}: root")
    names = named_paths(card)
    if not names or not os.path.isdir(folder) or _held(folder, names):
        return folder
    roots = (os.path.realpath(data_root), os.path.realpath(folder))
    level = [folder]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _subfolders(outer) if is_inside(inner, roots)]
        if not level or len(level) > MAX_FOLDERS:
            break
        held = {inner: count for inner in level if (count := _held(inner, names))}
        best = [inner for inner, count in held.items() if count == max(held.values())]
        if len(best) > 1:
            shown = " and ".join(str(inner.relative_to(folder)) for inner in best)
            fix = f"name one of them as root ({best[0].relative_to(data_root)}), or remove the others"
            raise DataError(str(folder), f"{shown} both hold files of {card.name}", "one copy of the dataset", fix)
        if best:
            return best[0]
    return folder


def named_paths(card: Card) -> tuple[tuple[str, ...], ...]:
    """Files and folders that a card names in its dataset, each with its alternatives; of a pattern its first part."""
    found: dict[tuple[str, ...], None] = {}
    for spec in card.tasks.values():
        given = [part.file for part in spec.files if part.file]
        given += [name for part in spec.files for name in part.images or ()]
        if spec.reader == "class_folders" and not any(given):
            given = [name for item in spec.classes for name in item.published]
        if isinstance(folders := spec.options.get("folders"), dict):
            given += map(str, folders.values())
        for name in given:
            if names := tuple(plain for one in alternatives(name) if (plain := _before_patterns(one))):
                found[names] = None
    return tuple(found)


def _before_patterns(name: str) -> str:
    """The beginning of a path up to its first pattern; empty for a name outside the dataset."""
    parts = []
    for part in name.split("/"):
        if part in ("..", "~") or any(sign in part for sign in "*?"):
            break
        parts.append(part)
    return "" if name.startswith(("/", "..")) else "/".join(parts).strip("/")


def _held(folder: Path, names: tuple[tuple[str, ...], ...]) -> int:
    """How many of the names are there."""
    return sum(any(_is_there(folder / name) for name in given) for given in names)


def _is_there(path: Path) -> bool:
    """Whether a file or folder exists, the file with or without ``.gz``."""
    other = path.with_name(path.name.removesuffix(".gz") if path.suffix == ".gz" else f"{path.name}.gz")
    return os.path.exists(path) or os.path.isfile(other) or stores.is_file(path) or stores.is_folder(path)


def _subfolders(folder: Path) -> Iterator[Path]:
    """Folders in a folder in alphabetical order, without hidden ones and those of unpackers."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_folder(entry))
    except OSError:
        return
    yield from (folder / name for name in names if not name.startswith((".", "__")))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
