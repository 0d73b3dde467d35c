"""Radiographs without an image format of their own: MetaImage (``.mha``, as NODE21 publishes) and JSRT's bare pixels.

Every fault is a DataError that names the file.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError

MAX_SIDE = 20_000
"""Pixels; a larger side is refused before decoding (a small file can claim any size)."""

MAX_PIXELS = 150_000_000
"""Refused above this, for the same reason."""

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaImage's names of pixel types."""

META_HEADER = 64 * 1024
"""Bytes in which the header of a MetaImage must end."""

JSRT_SIDE, JSRT_LARGEST = 2048, 4095
"""A JSRT film: 2048 x 2048 numbers of 12 bits, each in two bytes, the greater byte first (Shiraishi et al. 2000)."""


def check_size(path: Path, width: int, height: int) -> None:
    """Raises DataError if an image claims more pixels than any radiograph has."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise too_large(path, f"{width} x {height} pixels")


def too_large(path: Path, claim: str) -> DataError:
    """The error for an image that claims too many pixels."""
    return DataError(str(path), f"claims {claim}", f"at most {MAX_SIDE} per side and {MAX_PIXELS:,} in all", "check it")


def is_metaimage(content: bytes) -> bool:
    """Whether a file begins like the text header of a MetaImage."""
    return re.match(rb"\s*(ObjectType|Comment|NDims)\s*=", content) is not None


def read_metaimage(path: Path, content: bytes) -> np.ndarray:
    """Pixels of a MetaImage as stored, (H, W) in the machine's byte order.

    The pixels stand behind the header, raw or packed by zlib; three dimensions are allowed if the third is 1.

    Raises:
        DataError: no complete header, pixels in another file or as text, several slices or channels, an unknown pixel
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
    if _yes(header, "CompressedData"):
        data = _unpack(path, data, size)
    if len(data) != size:
        found = f"holds {len(data):,} bytes of pixels"
        raise DataError(str(path), found, f"{size:,} for {width} x {height} of {kind}", "download it again")
    return np.frombuffer(data, dtype=dtype).reshape(height, width).astype(dtype.newbyteorder("="))


def _split_header(path: Path, content: bytes) -> tuple[dict[str, str], bytes]:
    """Keys of the header, and the bytes behind it."""
    end = re.search(rb"^ElementDataFile\s*=\s*(\S*)[^\n]*\n", content[:META_HEADER], re.MULTILINE)
    if end is None:
        raise DataError(str(path), "its header does not end", "ElementDataFile = LOCAL", "download it again")
    lines = content[: end.end()].decode("latin-1").splitlines()
    header = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    if header["ElementDataFile"] not in ("LOCAL", "Local", "local"):
        found = f"its pixels are in another file, {header['ElementDataFile']!r}"
        raise DataError(str(path), found, "ElementDataFile = LOCAL", "convert it to one .mha file")
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
