"""Radiographs without an image format of their own: MetaImage (``.mha``, or ``.mhd`` with ``.raw``) and bare pixels.

NODE21 publishes the former, CRASS the pair of files, JSRT films without any header.

Every fault is a DataError that names the file.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError

MAX_SIDE = 20_000
"""Pixels; a larger side is refused before decoding (a small file can claim any size)."""

MAX_VALUES = 64_000_000
"""Pixels times channels; refused above this, for the same reason. The largest radiographs have 25 million pixels."""

MAX_BYTES = 2**30
"""Of an image file; the largest pixels that are read, unpacked and of 16 bits, take less than a third of it."""

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaImage's names of pixel types."""

META_HEADER = 64 * 1024
"""Bytes in which the header of a MetaImage must end."""

_LAST_KEY = rb"(?m)^[ \t]*ElementDataFile[ \t]*=[^\n]*(\n|\Z)"
"""The line that ends the header."""

JSRT_SIDE, JSRT_LARGEST = 2048, 4095
"""A JSRT film: 2048 x 2048 numbers of 12 bits, each in two bytes, the greater byte first (Shiraishi et al. 2000)."""


def check_size(path: Path, width: int, height: int, channels: int = 1) -> None:
    """Raises DataError if an image claims more values than any radiograph has."""
    if max(width, height) > MAX_SIDE or width * height * channels > MAX_VALUES:
        raise too_large(path, f"{width} x {height} pixels" + (f" in {channels} channels" if channels > 1 else ""))


def too_large(path: Path, claim: str) -> DataError:
    """The error for an image that claims too many pixels."""
    expected = f"at most {MAX_SIDE} pixels per side and {MAX_VALUES:,} values in all"
    return DataError(str(path), f"claims {claim}", expected, "check it, or store it smaller")


def is_metaimage(content: bytes) -> bool:
    """Whether a file begins like the text header of a MetaImage."""
    return re.match(rb"\s*(ObjectType|Comment|NDims)\s*=", content) is not None


def read_metaimage(path: Path, content: bytes) -> np.ndarray:
    """Pixels of a MetaImage as stored, (H, W) in the machine's byte order.

    The pixels are behind the header, raw or packed by zlib; three dimensions are allowed if the third is 1. A pair of
    files is put together by :func:`with_pixels` before.

    Raises:
        DataError: no complete header, pixels in other files or as text, several slices or channels, an unknown pixel
            type, too large, or the pixels are torn.
    """
    header, data = _split_header(path, content)
    width, height = _plane(path, header)
    check_size(path, width, height)
    kind = header.get("ElementType", "")
    if kind not in META_TYPES:
        raise DataError(str(path), f"ElementType is {kind!r}", f"one of {', '.join(META_TYPES)}", "convert the file")
    big = _yes(header, "BinaryDataByteOrderMSB") or _yes(header, "ElementByteOrderMSB")
    dtype = np.dtype((">" if big else "<") + META_TYPES[kind])
    size = width * height * dtype.itemsize
    if header["ElementDataFile"].upper() != "LOCAL":
        found = f"its pixels are in another file, {header['ElementDataFile']!r}"
        raise DataError(str(path), found, "ElementDataFile = LOCAL", "convert it to one .mha file")
    data = _skip(path, data, header.get("HeaderSize", "0"), size)
    if _yes(header, "CompressedData"):
        data = _unpack(path, data, size)
    if len(data) != size:
        found = f"holds {len(data):,} bytes of pixels"
        raise DataError(str(path), found, f"{size:,} for {width} x {height} of {kind}", "download it again")
    return np.frombuffer(data, dtype=dtype).reshape(height, width).astype(dtype.newbyteorder("="))


def data_file(path: Path, content: bytes) -> str | None:
    """Name of the other file that holds the pixels of a MetaImage.

    Args:
        path: The header's file, for messages.
        content: Its bytes; of any other format, too.

    Returns:
        The name as it is written in the header; None for a MetaImage in one file, and for any other format.

    Raises:
        DataError: The header is damaged, or its pixels are in several files.
    """
    file = _split_header(path, content)[0]["ElementDataFile"] if is_metaimage(content) else "LOCAL"
    return None if file.upper() == "LOCAL" else file


def with_pixels(content: bytes, pixels: bytes) -> bytes:
    """A MetaImage in one piece, from the header's file of a pair and from the bytes of the other file."""
    end = re.search(_LAST_KEY, content)
    return (content if end is None else content[: end.start()]) + b"\nElementDataFile = LOCAL\n" + pixels


def beside(path: Path, name: str) -> bytes:
    """The bytes of a file in the folder of another one.

    Args:
        path: The other file.
        name: Name of the file.

    Raises:
        DataError: The name leads out of the folder, or the file is missing, too large or not regular.
    """
    file, fix = _place(path, name), f"put {name!r} beside {path.name}, as it was published"
    folders = {path.parent.resolve(), path.resolve().parent}
    if file.resolve().parent not in folders or file.resolve() == path.resolve():
        raise DataError(str(path), f"its pixels are in {name!r}", "a file of the same folder", "convert it to one .mha")
    if not os.path.isfile(file):  # false for a name that is too long, where pathlib raises
        raise DataError(str(path), f"its pixels are in {name!r}, which does not exist", "both files of the pair", fix)
    if file.stat().st_size > MAX_BYTES:
        raise DataError(str(file), f"has {file.stat().st_size:,} bytes", f"at most {MAX_BYTES:,}", "check the file")
    try:
        return file.read_bytes()
    except OSError as error:
        found = f"its pixels in {name!r} cannot be read ({error.strerror})"
        raise DataError(str(path), found, "a readable file", "check its permissions") from None


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an image is read from: itself, and the pixels of a MetaImage pair, even if they are missing."""
    if path.suffix.lower() != ".mhd":
        return (path,)
    try:
        with open(path, "rb") as stream:
            file = data_file(path, stream.read(META_HEADER))
    except (DataError, OSError):
        file = None
    return (path,) if file is None else (path, _place(path, file))


def _place(path: Path, name: str) -> Path:
    """A file in the folder of another one, or, if that is a link, in the folder of what it leads to."""
    near = path.parent / name
    return near if os.path.isfile(near) else path.resolve().parent / name


def _skip(path: Path, data: bytes, header_size: str, size: int) -> bytes:
    """The bytes behind the data file's own header of ``header_size`` bytes; -1 means that the pixels end the file."""
    try:
        count = int(header_size)
    except ValueError:
        count = -2
    if count < -1:
        raise DataError(str(path), f"HeaderSize is {header_size!r}", "a number of bytes, or -1", "convert the file")
    return data[-size:] if count == -1 else data[count:]


def _split_header(path: Path, content: bytes) -> tuple[dict[str, str], bytes]:
    """Keys of the header, and the bytes behind it."""
    end = re.search(_LAST_KEY, content[:META_HEADER])
    if end is None:
        raise DataError(str(path), "its header does not end", "ElementDataFile = LOCAL", "download it again")
    text = content[: end.end()].decode("utf-8", "replace")
    header = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    file = header["ElementDataFile"]
    if not file or file.split()[0].upper() == "LIST" or "%" in file or "\0" in file:
        found = f"its pixels are in several files (ElementDataFile = {file})"
        raise DataError(str(path), found, "LOCAL, or the name of one file", "convert it to one .mha file")
    if header.get("BinaryData", "True").lower() == "false":
        raise DataError(str(path), "its pixels are written as text", "BinaryData = True", "convert the file")
    return header, content[end.end() :]


def _plane(path: Path, header: dict[str, str]) -> tuple[int, int]:
    """Width and height of the one grey slice."""
    sizes, channels = header.get("DimSize", ""), header.get("ElementNumberOfChannels", "1")
    found = f"NDims = {header.get('NDims')}, DimSize = {sizes}, channels {channels}"
    try:
        dimensions = [int(size) for size in sizes.split()]
        good = int(header.get("NDims", "0")) == len(dimensions) in (2, 3) and int(channels) == 1
    except ValueError:
        good = False
    if not good or min(dimensions) < 1 or dimensions[2:] not in ([], [1]):
        raise DataError(str(path), found, "one grey slice: DimSize = width height [1]", "extract the radiograph")
    return dimensions[0], dimensions[1]


def _yes(header: dict[str, str], key: str) -> bool:
    return header.get(key, "False").lower() == "true"


def _unpack(path: Path, data: bytes, size: int) -> bytes:
    """Unpacked pixels; never more than one byte beyond what the header promises."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise DataError(
            str(path), f"its packed pixels are damaged ({error})", "zlib data", "download it again"
        ) from None
    if len(unpacked) == size and not unpacker.eof:
        unpacker.decompress(unpacker.unconsumed_tail, 1)  # the check sum stands at the very end
        if not unpacker.eof:
            raise DataError(str(path), "its packed pixels are cut off", "complete zlib data", "download it again")
    return unpacked


def read_jsrt(content: bytes) -> np.ndarray | None:
    """A JSRT film as (2048, 2048) float32 in the usual look, None if the bytes are none.

    The file has no header: it is known by its size and by the four empty bits of every number. The numbers are
    optical densities of the film (0 is clear, 4095 is black), so the usual look is their negative.
    """
    if len(content) != JSRT_SIDE * JSRT_SIDE * 2:
        return None
    density = np.frombuffer(content, dtype=">u2")
    if density.max() > JSRT_LARGEST:
        return None
    return (JSRT_LARGEST - density.astype(np.float32)).reshape(JSRT_SIDE, JSRT_SIDE)
