"""Files and folders of a real tree that belong to no dataset: left by systems, unpackers and file managers.

Every listing of a folder passes over them, so that no reader takes them for an image, a mask or a class.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "ntuser.ini"})
"""Names in lower case; names that begin with a dot (``.DS_Store``, ``._a.png``) are passed over, too."""

_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"})
"""Names in lower case; names that begin with a dot (``.ipynb_checkpoints``) are passed over, too."""

_DOCUMENTS = (
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".rtf", ".html", ".htm", ".url", ".lnk", ".log"),
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".ini", ".db"),
    *(".csv.gz", ".json.gz", ".md5", ".sha1", ".sha256", ".sha512", ".py", ".ipynb", ".m", ".sh"),
    *(".mat", ".npy", ".npz", ".pkl", ".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar"),
)
"""Endings, in lower case, of files that explain, list or pack images, and are none."""

_PIXELS = (".raw", ".zraw")
"""Endings, in lower case, of the pixels of a MetaImage; its header has the same name and ends in ``.mhd``."""


def is_stray_folder(name: str) -> bool:
    """Whether a folder of this name belongs to no dataset."""
    return name.startswith(".") or name.lower() in _FOLDERS


def is_stray_file(name: str) -> bool:
    """Whether a file of this name cannot be an image or a mask."""
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower in _FILES or lower.endswith((*_DOCUMENTS, "~"))


def image_files(names: Iterable[str]) -> list[str]:
    """The names of one folder that can be images or masks, in the given order.

    The pixels of a MetaImage pair are left out beside their header: ``a.raw`` beside ``a.mhd``.
    """
    names = list(names)
    text = "\n".join(["", *names])  # one search in a long text takes a fifth of a look at a million names
    if "\n." not in text and "\n~" not in text and {name[-4:] for name in names} <= _usual_endings():
        return names
    kept = [name for name in names if not is_stray_file(name)]
    headers = {name[:-4].lower() for name in kept if name.lower().endswith(".mhd")}
    return [name for name in kept if not (headers and _stem_of_pixels(name) in headers)]


@functools.cache
def _usual_endings() -> frozenset[str]:
    """Endings of names that need no closer look: a folder may have a million of them."""
    usual = {".png", ".jpg", ".dcm", ".tif", ".bmp", ".gif", ".PNG", ".JPG", ".DCM"}
    return frozenset(ending for ending in usual if not is_stray_file(f"a{ending}"))


def _stem_of_pixels(name: str) -> str | None:
    """The name without its ending, in lower case, if it ends like the pixels of a MetaImage."""
    lower = name.lower()
    ending = next((ending for ending in _PIXELS if lower.endswith(ending)), None)
    return None if ending is None else lower.removesuffix(ending).removesuffix(".mhd")
