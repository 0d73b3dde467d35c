"""Zip archives: files stored or deflated, read one by one at their position."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.datasets.stores.store import Store, members_by_name

SUFFIXES = (".zip",)

_LOCAL_HEADER = 30
"""Bytes of a file's header before its name."""


class ZipStore(Store):
    """A zip archive.

    Args:
        path: The archive.

    Raises:
        DataError: Its directory cannot be read: no zip, cut off, or one part of a split archive; or different files
            have the same name.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, struct.error) as error:
            fix = "download it again; put the parts of a split archive together with `zip -s 0 PARTS.zip --out ONE.zip`"
            raise DataError(str(path), f"is no complete zip archive ({error})", "a zip archive", fix) from None
        self._members = members_by_name(path, ((info.filename, info) for info in members), _are_equal)

    def names(self) -> Collection[str]:
        """Paths of the files, in the archive's order."""
        return self._members.keys()

    def size(self, name: str) -> int:
        """Unpacked size in bytes."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """The unpacked file; its checksum is compared."""
        info = self._members[name]
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = "is encrypted" if info.flag_bits & 1 else f"is packed by method {info.compress_type}"
            raise DataError(f"{self.path}/{name}", how, "stored or deflated files", "unpack the archive to a folder")
        try:
            with self.path.open("rb") as stream:
                stream.seek(info.header_offset)
                header = stream.read(_LOCAL_HEADER)
                stream.seek(sum(struct.unpack("<HH", header[26:30])), 1)
                content = stream.read(info.compress_size)
            if info.compress_type == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-15).decompress(content, info.file_size + 1)
        except (OSError, struct.error, zlib.error) as error:
            raise self.damaged(name, error) from None
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise self.damaged(name, "its checksum is wrong")
        return content


def _are_equal(one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
    """Whether two files hold the same bytes, by size and checksum."""
    return (one.file_size, one.CRC) == (other.file_size, other.CRC)


def open_store(path: Path) -> Store:
    """The archive in a file."""
    return ZipStore(path)
