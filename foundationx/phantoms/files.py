"""Writes radiographs and masks in the file formats in which datasets are published."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from foundationx.core.atomic_write import write_atomically
from foundationx.core.errors import CardError
from foundationx.data.pixels.raw_images import JSRT_LARGEST, JSRT_SIDE

PILLOW = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Suffixes that Pillow writes."""

_QUALITY = {".jpg": {"quality": 92}, ".jpeg": {"quality": 92}}


def needed_size(suffix: str) -> tuple[int, int] | None:
    """Height and width that a format prescribes; None for any."""
    return (JSRT_SIDE, JSRT_SIDE) if suffix.lower() == ".img" else None


def raw_file(path: Path) -> Path:
    """File of the pixels that a MetaImage header (``.mhd``) names."""
    return path.with_suffix(".raw")


def write_image(path: Path, values: np.ndarray, where: str, *, deep: bool = True) -> None:
    """Writes a radiograph (H, W) uint8 in the format of its suffix: image file, DICOM, MetaImage or JSRT's raw pixels.

    Args:
        path: File to write.
        values: Pixels (H, W) uint8.
        where: What asked for the file, for errors.
        deep: A MetaImage holds 16 bits, as radiographs do; otherwise the very values, as masks do.

    Raises:
        CardError: The suffix belongs to no supported format.
    """
    suffix, stream = path.suffix.lower(), io.BytesIO()
    if suffix in PILLOW:
        Image.fromarray(values).save(stream, format=PILLOW[suffix], **_QUALITY.get(suffix, {}))
    elif suffix in (".dcm", ".dicom"):
        _dicom(values, path.name).save_as(stream, enforce_file_format=True)
    elif suffix == ".mha":
        stored = _metaimage_values(values, deep)
        stream.write(_metaimage_header(stored, "LOCAL") + stored.tobytes())
    elif suffix == ".mhd":
        stored = _metaimage_values(values, deep)
        stream.write(_metaimage_header(stored, raw_file(path).name))
        write_atomically(raw_file(path), stored.tobytes(), durable=False)
    elif suffix == ".img":
        stream.write((JSRT_LARGEST - values.astype(np.uint16) * 16).astype(">u2").tobytes())
    else:
        known = ", ".join([*PILLOW, ".dcm", ".dicom", ".mha", ".mhd", ".IMG"])
        found = f"images with the suffix {path.suffix!r} cannot be written"
        raise CardError(where, found, f"one of {known}", "correct the suffix in the card")
    write_atomically(path, stream.getvalue(), durable=False)


def _dicom(values: np.ndarray, name: str) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # computed radiography
    data.SOPInstanceUID = generate_uid(prefix="2.25.", entropy_srcs=[name])
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    pixels = values.tobytes()
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _metaimage_header(values: np.ndarray, data_file: str) -> bytes:
    height, width = values.shape
    kind = "MET_UCHAR" if values.itemsize == 1 else "MET_USHORT"
    header = "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    return f"{header}DimSize = {width} {height}\nElementType = {kind}\nElementDataFile = {data_file}\n".encode()


def _metaimage_values(values: np.ndarray, deep: bool) -> np.ndarray:
    return values.astype("<u2") * 16 if deep else values
