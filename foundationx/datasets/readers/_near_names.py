"""The file that was probably meant where an image does not exist, and the line of the card that finds it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence

MAX_COMPARED = 2_000
"""Files of a folder up to which names are compared letter by letter."""

MAX_FOLDERS = 200
"""Folders below those of the images in which a file is looked for."""

MAX_SEARCHES = 50
"""Names that are compared letter by letter; a table with more faults is wrong as a whole."""


class NearNames:
    """Finds files whose names are almost right.

    Args:
        files: Names of the files in a folder of the dataset.
        subfolders: Names of the folders in a folder of the dataset.
    """

    def __init__(self, files: Callable[[str], frozenset[str]], subfolders: Callable[[str], Sequence[str]]):
        self._files, self._subfolders = files, subfolders
        self._inner: dict[str, list[str]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._searches = 0

    def hint(self, name: str, folders: Sequence[str]) -> tuple[str, str]:
        """The nearest file and what to write, each empty if there is none.

        Args:
            name: Name of the missing file, as the table writes it, with the card's suffix.
            folders: Folders of the images.

        Returns:
            For example ``did you mean 'a.png'?`` and ``image_suffix: "| .png"``.
        """
        inner, _, base = name.rpartition("/")
        if inner and base in self._files(inner):
            return f"did you mean {base!r} in {inner!r}?", 'write `images: ""` in the card: the names hold the folder'
        for folder in folders:
            within = f"{folder}/{inner}".strip("/")
            if found := self._in_folder(base, within):
                return found
        elsewhere = next((folder for folder in folders if inner and base in self._files(folder)), None)
        if elsewhere is not None:
            fix = "leave the folder out of the table's names, or of image_path in the card"
            return f"did you mean {base!r} in {elsewhere!r}?", fix
        for folder in folders:
            if (below := next((one for one in self._below(folder) if base in self._files(one)), None)) is not None:
                fix = f'write `images: "{f"{folder}/**".strip("/")}"` in the card: folders below it hold the images'
                return f"did you mean {base!r} in {below!r}?", fix
        near = self._letter_by_letter(base, (f"{folder}/{inner}".strip("/") for folder in folders))
        return (f"did you mean {near!r}?", "") if near else ("", "")

    def _below(self, folder: str) -> list[str]:
        """The first folders below a folder, level by level."""
        if folder not in self._inner:
            found = [folder]
            for one in found:  # grows while it is read
                if len(found) > MAX_FOLDERS:
                    break
                found += [f"{one}/{name}".strip("/") for name in self._subfolders(one)]
            self._inner[folder] = found[1 : MAX_FOLDERS + 1]
        return self._inner[folder]

    def _in_folder(self, base: str, folder: str) -> tuple[str, str] | None:
        """A file of the same stem, or of the same letters, and what finds it."""
        stems = self._stems_of(folder)
        lacking = [file for file in stems.get(base.lower(), ()) if os.path.splitext(file)[0] == base]
        if lacking:
            suffix = os.path.splitext(lacking[0])[1]
            return f"did you mean {lacking[0]!r}?", f'write `image_suffix: "{suffix}"` in the card'
        stem, suffix = os.path.splitext(base)
        same = stems.get(stem.lower(), ())
        for file in same:
            file_stem, file_suffix = os.path.splitext(file)
            if file_stem == stem:
                return f"did you mean {file!r}?", f"add `| {file_suffix}` to image_suffix in the card"
        return (f"did you mean {same[0]!r}?", "") if same else None

    def _stems_of(self, folder: str) -> dict[str, list[str]]:
        """Files of a folder by their stem in lower case."""
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for file in sorted(self._files(folder)):
                stems.setdefault(os.path.splitext(file)[0].lower(), []).append(file)
            self._stems[folder] = stems
        return self._stems[folder]

    def _letter_by_letter(self, base: str, folders: Iterable[str]) -> str | None:
        """The file with the most similar name."""
        self._searches += 1
        if self._searches > MAX_SEARCHES:
            return None
        for folder in folders:
            files = self._files(folder)
            if len(files) <= MAX_COMPARED and (near := difflib.get_close_matches(base, files, 1)):
                return near[0]
        return None
