"""Image files of every format that is read, small ones made here and published ones, and files that claim too much."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from fuzzing.mutate import Random, damaged

LARGEST_PUBLISHED = 3_000_000
"""Bytes; larger published files are left out, for they would take the most of the time."""


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def dicom(values: np.ndarray, syntax: str = ExplicitVRLittleEndian, **tags: object) -> bytes:
    """An 8-bit image as DICOM."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME1", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.WindowCenter, data.WindowWidth, data.RescaleSlope, data.RescaleIntercept = 128, 256, 1, 0
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def metaimage(values: np.ndarray, packed: bool = False, size: str | None = None, data: bytes | None = None) -> bytes:
    """An 8-bit image as ``.mha``; ``size`` and ``data`` replace the image's own."""
    size = size or f"{values.shape[1]} {values.shape[0]}"
    header = f"ObjectType = Image\nNDims = 2\nBinaryData = True\nCompressedData = {packed}\nDimSize = {size}\n"
    header += "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    pixels = values.tobytes() if data is None else data
    return header.encode() + (zlib.compress(pixels) if packed and data is None else pixels)


@functools.cache
def made() -> dict[str, bytes]:
    """One small image in every format, by name."""
    values = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    grey = Image.fromarray(values)
    exif = Image.Exif()
    exif[0x0112] = 6
    result = {f"grey.{kind}": saved(grey, kind) for kind in ("png", "jpeg", "tiff", "bmp", "gif")}
    result["progressive.jpg"] = saved(grey, "jpeg", progressive=True, exif=exif)
    result["deep.png"] = saved(Image.fromarray(values.astype(np.uint16) * 250), "png")
    result["clear.png"] = saved(Image.fromarray(np.dstack([values, values, values, values])), "png")
    result["palette.png"] = saved(grey.convert("P"), "png", transparency=3)
    result["float.tif"] = saved(Image.fromarray(values.astype(np.float32)), "tiff")
    result["packed.tif"] = saved(grey, "tiff", compression="tiff_lzw")
    result["grey.dcm"], result["deflated.dcm"] = dicom(values), dicom(values, DeflatedExplicitVRLittleEndian)
    result["grey.mha"], result["packed.mha"] = metaimage(values), metaimage(values, packed=True)
    return result


@functools.cache
def published(shared: Path | None) -> dict[str, Path]:
    """Real files by name; one image of each of the larger sets and all unusual ones."""
    if shared is None:
        return {}
    files = [path for path in sorted((shared / "odd").iterdir()) if path.suffix != ".csv"]
    for folder in sorted((shared / "cxr_multi").glob("*/")):
        files += [path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg", ".jpeg")][:6]
    return {path.name: path for path in files if path.stat().st_size <= LARGEST_PUBLISHED}


def torn_image(random: Random, shared: Path | None) -> tuple[str, bytes]:
    """Name and bytes of a damaged image; every eighth has only another format's name."""
    real, own = published(shared), made()
    name = random.choice(sorted(real) if real and random.random() < 0.25 else sorted(own))
    content = own[name] if name in own else real[name].read_bytes()
    suffix = random.choice((".png", ".jpg", ".dcm", ".mha", ".IMG", "", ".TIF"))
    if random.random() < 0.125:
        return f"{Path(name).stem}{suffix}", content
    return name, damaged(content, random)


def chunk(name: bytes, content: bytes) -> bytes:
    """A piece of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, data: bytes, further: bytes = b"") -> bytes:
    """A PNG that claims any size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + further + chunk(b"IDAT", data) + chunk(b"IEND", b"")


MEGABYTES = 256
"""That a bomb unpacks to."""


@functools.cache
def bomb(byte: bytes = b"\0") -> dict[str, bytes]:
    """One byte over and over, packed a thousandfold: bare as in DICOM, and as zlib and gzip wrap it."""
    packer, block, adler, crc = zlib.compressobj(9, zlib.DEFLATED, -15), byte * 2**20, 1, 0
    pieces = []
    for _ in range(MEGABYTES):
        pieces.append(packer.compress(block))
        adler, crc = zlib.adler32(block, adler), zlib.crc32(block, crc)
    bare = b"".join([*pieces, packer.flush()])
    gzip_head = b"\x1f\x8b\x08" + bytes(7)
    return {
        "bare": bare,
        "zlib": b"\x78\x9c" + bare + struct.pack(">I", adler),
        "gzip": gzip_head + bare + struct.pack("<II", crc, MEGABYTES * 2**20),
    }


def claims(random: Random) -> tuple[str, bytes]:
    """Name and bytes of an image whose header claims far more than the file holds, or that unpacks to far more."""
    side = random.choice((1, 65_535, 20_001, 100_000, 2**31 - 1))
    other = random.choice((1, 2_000, 65_535, 12_500, 2**31 - 1))
    values, small = np.zeros((8, 8), np.uint8), zlib.compress(bytes(99))
    text = chunk(b"zTXt", b"a\0\0" + bomb()["zlib"])
    choices = {
        "claims.png": lambda: png(side, other, random.choice((1, 8, 16)), random.choice((0, 2, 6)), small),
        "unpacks.png": lambda: png(30, 30, 8, 0, bomb()["zlib"]),
        "text.png": lambda: png(30, 30, 8, 0, small, text),
        "colours.png": lambda: png(30, 30, 8, 0, small, chunk(b"iCCP", b"a\0\0" + bomb()["zlib"])),
        "whole.png": _whole,
        "claims.bmp": lambda: _claiming(made()["grey.bmp"], 18, side, other),
        "claims.gif": lambda: made()["grey.gif"][:6] + struct.pack("<HH", 65_535, 65_535) + made()["grey.gif"][10:],
        "claims.dcm": lambda: dicom(values, Rows=min(side, 65_535), Columns=min(other, 65_535)),
        "frames.dcm": lambda: dicom(values, NumberOfFrames=2**31 - 1),
        "deflated.dcm": lambda: _deflated(values),
        "claims.mha": lambda: metaimage(values, size=f"{side} {other}"),
        "unpacks.mha": lambda: metaimage(
            values, True, random.choice(("8 8", "12000 12000", "9" * 5000)), bomb()["zlib"]
        ),
        "header.mha": lambda: b"ObjectType = Image\n" + b"Comment = " + bytes(10**6) + b"\n",
        "claims.tif": lambda: _large_tiff(made()["grey.tiff"], side, other),
    }
    name = random.choice(sorted(choices))
    return name, choices[name]()


@functools.cache
def _whole() -> bytes:
    """A PNG that holds the 144 million pixels that it claims."""
    return png(12_000, 12_000, 8, 0, zlib.compress(bytes(12_001 * 12_000)))


def _claiming(content: bytes, place: int, width: int, height: int) -> bytes:
    return content[:place] + struct.pack("<II", width % 2**31, height % 2**31) + content[place + 8 :]


def _deflated(values: np.ndarray) -> bytes:
    """A DICOM file whose packed part unpacks to a quarter of a gigabyte."""
    whole = dicom(values, DeflatedExplicitVRLittleEndian)
    length = struct.unpack("<I", whole[140:144])[0]
    return whole[: 144 + length] + bomb()["bare"]


def _large_tiff(content: bytes, width: int, height: int) -> bytes:
    """A TIFF with other sizes in its directory."""
    changed, start = bytearray(content), struct.unpack("<I", content[4:8])[0]
    for entry in range(struct.unpack("<H", content[start : start + 2])[0]):
        place = start + 2 + 12 * entry
        tag = struct.unpack("<H", changed[place : place + 2])[0]
        if tag in (256, 257):
            changed[place + 2 : place + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(changed)
