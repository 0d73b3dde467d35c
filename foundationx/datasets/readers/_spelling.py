"""One file under several spellings: letter case, Unicode composition, percent-encoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import unquote


def spelling(name: str) -> str:
    """What all spellings of a file name have in common: ``R%C3%B6ntgen.PNG`` and ``röntgen.png``, composed or not."""
    text = unquote(name) if "%" in name else name
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class Spellings:
    """Finds files whose name is spelled otherwise on the disk than in a table.

    Args:
        files: Names of the files in a folder of the dataset.
        folders: Names of the folders in a folder of the dataset.
    """

    def __init__(self, files: Callable[[str], Iterable[str]], folders: Callable[[str], Iterable[str]]):
        self._list_files, self._list_folders = files, folders
        self._files: dict[str, dict[str, list[str]]] = {}
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str, folders: Sequence[str]) -> str | None:
        """The path of the only file below the folders whose spelling is that of a name; None if there is none.

        Args:
            name: Name of a missing file, with its inner folders.
            folders: Folders in which it may be.
        """
        found = {path for folder in folders for path in self._below(folder, name.split("/"))}
        return found.pop() if len(found) == 1 else None

    def _below(self, folder: str, parts: Sequence[str]) -> list[str]:
        first, *rest = parts
        known, listing = (self._folders, self._list_folders) if rest else (self._files, self._list_files)
        if folder not in known:
            known[folder] = _by_spelling(listing(folder))
        names = known[folder].get(spelling(first), [])
        paths = [f"{folder}/{other}" if folder else other for other in ([first] if first in names else names)]
        return [inner for path in paths for inner in self._below(path, rest)] if rest else paths


def _by_spelling(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(spelling(name), []).append(name)
    return groups
