"""What a download often leaves in place of a file, known by how it begins."""

from __future__ import annotations

import re

from foundationx.core.errors import DataError

LOOKED_AT = 64
"""Bytes that suffice to tell, except that a file of zeros has to be seen whole."""

_BEGINNINGS = (
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the file itself", "fetch the files by git lfs pull"),
    (rb"\s*<(!doctype html|html)", "is a web page, which a site sent instead of the file", "download it, signed in"),
    (rb"PK\x03\x04|\x1f\x8b", "is packed as a whole", "unpack it"),
    (rb"\0+\Z", "holds nothing but zeros, as a download that was cut off leaves", "download it again"),
)
"""How a file begins, what it is, and what to do."""


def check_download(name: str, content: bytes, expected: str) -> None:
    """Raises DataError if bytes are no file of any dataset but what a download leaves in its place.

    Args:
        name: The file in messages.
        content: The file, or its first bytes.
        expected: What the file should be.
    """
    for form, found, fix in _BEGINNINGS:
        if re.match(form, content, re.IGNORECASE):
            raise DataError(name, found, expected, fix)
