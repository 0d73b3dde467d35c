"""DICOM radiographs: from the file's bytes to grey values as a viewer shows them.

Every fault is a DataError that names the file, the reason, and the package to install if one is missing.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.errors import DataError
from foundationx.data.pixels.grey_range import check_numbers, to_bytes
from foundationx.data.pixels.raw_images import check_size

if TYPE_CHECKING:
    from pydicom import Dataset

GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "PALETTE COLOR")
"""Photometric interpretations that are read; also those that begin with ``YBR``."""

FLAT = 0.999
"""Share of pixels with one value above which a window is taken for one that lies off the image."""

GDCM = "python-gdcm (the extra 'dicom')"
"""Package for JPEG-LS and lossless JPEG."""

LIBJPEG = "pylibjpeg-libjpeg (GPL)"
"""Package for JPEG of 12 bits, which GDCM does not read."""

_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]")
"""Marker that begins the image of a JPEG or JPEG-LS."""

_PREAMBLE = 128
_PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10", b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00")
"""Tags of pixel data in either byte order, and of floating-point pixels."""


def is_dicom(content: bytes) -> bool:
    """Whether bytes are a DICOM file, with or without the preamble of 128 bytes and ``DICM``."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM" or content[:4] == b"DICM" or _is_bare(content)


def read_dicom(path: Path, content: bytes) -> np.ndarray:
    """A DICOM radiograph as (H, W) uint8 in the usual look: bones bright, air dark.

    Rescale or modality table, then the first usable window or the VOI table, MONOCHROME1 inverted, then scaled by
    :func:`~foundationx.data.pixels.grey_range.to_bytes`. Pixels with the padding value become black. Empty attributes,
    a window without width and a window that shows nothing are passed over. Colour becomes grey as in other formats.

    Args:
        path: The file, for messages.
        content: Its bytes.

    Raises:
        DataError: No image, several frames, packed in a way that no installed package reads, or damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = _dataset(path, content)
        _check_packing(path, data)
        stored = _stored(path, data)
        if stored.ndim == 3 and stored.shape[2] != 3:
            raise DataError(str(path), f"its pixels have {stored.shape[2]} channels", "one or three", "check the file")
        if stored.ndim == 3:
            return _grey_of_colour(stored)
        outside = _padding(path, data, stored)
        rescaled = _rescaled(path, data, stored)
        shown = _voi(path, data, rescaled)
    check_numbers(path, shown)
    values = shown.astype(np.float32)
    negative = data.PhotometricInterpretation == "MONOCHROME1"
    return to_bytes(-values if negative else values, outside, framed=shown is rescaled)


def _is_bare(content: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, as a DICOM data set does, and hold pixel data."""
    for order in ("little", "big"):
        group, element = (int.from_bytes(content[start : start + 2], order) for start in (0, 2))
        length = int.from_bytes(content[4:8], order)
        plausible = content[4:6].isalpha() and content[4:6].isupper() if length > 256 else length % 2 == 0
        if group in (2, 8) and element < 0x100 and plausible:
            return any(tag in content for tag in _PIXELS)
    return False


def _dataset(path: Path, content: bytes) -> Dataset:
    """The attributes of a DICOM file that claims one image of an acceptable size."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if DeflatedExplicitVRLittleEndian.encode("ascii") in content:  # pydicom unpacks all of it, to any size
        found = "is packed as a whole (Deflated Explicit VR Little Endian)"
        raise DataError(str(path), found, "packed pixels, or none", "convert it to another transfer syntax")
    if content[:4] == b"DICM":
        content = bytes(_PREAMBLE) + content
    try:
        data = pydicom.dcmread(io.BytesIO(content), force=_is_bare(content))
        kind = str(data.get("Modality") or "unknown")
        rows, columns, frames, channels = (
            int(data.get(key) or least)
            for key, least in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1), ("SamplesPerPixel", 1))
        )
        for key in _READ_LATER:  # pydicom converts a value when it is asked for, and raises anything
            data.get(key)
        photometric = str(data.get("PhotometricInterpretation") or "MONOCHROME2")
        data.PhotometricInterpretation = photometric
    except Exception as error:  # a damaged header raises anything
        found = f"is not a readable DICOM image ({_one_line(error)})"
        raise DataError(str(path), found, "a complete DICOM image", "download it again") from None
    if not rows or not columns:
        found, fix = f"holds no image (modality {kind})", "leave it out, or download it again if it is cut off"
        raise DataError(str(path), found, "a complete DICOM image", fix)
    check_size(path, columns, rows)
    coloured = photometric in COLOUR or photometric.startswith("YBR")
    fits = channels == 1 if photometric in (*GREY, "PALETTE COLOR") else coloured and channels == 3
    if frames != 1 or not fits:
        found = f"holds {frames} frames of {channels} channels ({photometric})"
        raise DataError(str(path), found, "one grey frame, or one in RGB", "extract the radiograph")
    return data


_READ_LATER = (
    *("PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingRangeLimit"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)
"""Attributes that decide what the pixels mean."""


def _check_packing(path: Path, data: Dataset) -> None:
    """Sets a missing transfer syntax. Raises DataError if no installed package unpacks the pixels."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(data, "file_meta"):
        data.file_meta = FileMetaDataset()
    if not data.file_meta.get("TransferSyntaxUID"):
        implicit, little = data.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = plain
    syntax = UID(str(data.file_meta.TransferSyntaxUID))  # a damaged header holds several, or a number
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        found = f"its pixels are packed as {syntax.name} ({syntax}), which is no packing of single images"
        raise DataError(str(path), found, "a radiograph", "convert it to another transfer syntax") from None
    if not decoder.is_available:
        raise _missing(path, syntax)


def _missing(path: Path, syntax: Any, package: str = GDCM) -> DataError:
    """The error for pixels that only a package that is not installed unpacks."""
    found = f"its pixels are packed as {syntax.name} ({syntax}), which no installed package unpacks"
    fix = f"pip install {package}, or convert the file to another transfer syntax"
    return DataError(str(path), found, "a package for that packing; the file is whole", fix)


def _stored(path: Path, data: Dataset) -> np.ndarray:
    """Pixels (H, W), or (H, W, 3) in RGB, as they are stored."""
    from pydicom.pixels.processing import apply_color_lut

    try:
        values = _unpacked(data)
        return apply_color_lut(values, data) if data.PhotometricInterpretation == "PALETTE COLOR" else values
    except Exception as error:  # each of its decoders raises its own kinds
        syntax = data.file_meta.TransferSyntaxUID
        if _precision(data) > 8 and syntax.name.startswith("JPEG Extended"):  # Pillow and GDCM read only 8 bits of it
            raise _missing(path, syntax, LIBJPEG) from None
        found = f"its pixels cannot be decoded ({_fault_of_jpeg(data) or _one_line(error)})"
        raise DataError(str(path), found, "complete pixel data", "download it again") from None


def _unpacked(data: Dataset) -> np.ndarray:
    """Pixels by the first decoder that reads them; GDCM is the last, so that installing it changes no pixel."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = data.file_meta.TransferSyntaxUID
    plugins = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ("",)
    *others, last = sorted(plugins, key=lambda plugin: plugin == "gdcm")
    for plugin in others:
        with contextlib.suppress(Exception):  # the next one may read it
            return pixel_array(data, decoding_plugin=plugin)
    return pixel_array(data, decoding_plugin=last)


def _fault_of_jpeg(data: Dataset) -> str:
    """What the markers of a JPEG show to be missing; empty if nothing is, or the pixels are packed otherwise."""
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

    if data.file_meta.TransferSyntaxUID not in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return ""
    try:
        frame = get_frame(data.PixelData, 0, number_of_frames=1)
    except Exception as error:  # damaged fragments raise several kinds
        return _one_line(error)
    if not frame.startswith(b"\xff\xd8"):
        return "its pixel data hold no JPEG"
    if _JPEG_FRAME.search(frame) is None:
        return "the JPEG in its pixel data holds no image"
    return "" if frame.rstrip(b"\0").endswith(b"\xff\xd9") else "the JPEG in its pixel data is cut off"


def _precision(data: Dataset) -> int:
    """Bits per pixel that the frame header of a JPEG states; 0 if there is none."""
    start = bytes(data.get("PixelData") or b"")[:65536].find(b"\xff\xc1")
    return 0 if start < 0 else data.PixelData[start + 4]


def _padding(path: Path, data: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Pixels (H, W) bool with a padding value; None if there are none, or nothing else."""
    one = _number(path, data, "PixelPaddingValue")
    if one is None:
        return None
    other = _number(path, data, "PixelPaddingRangeLimit")
    bounds = sorted(_as_stored(value, stored, data) for value in (one, one if other is None else other))
    outside = (stored >= bounds[0]) & (stored <= bounds[1])
    return outside if outside.any() and not outside.all() else None


def _as_stored(value: float, stored: np.ndarray, data: Dataset) -> float:
    """A padding value in the range of the pixels: some files give it in the other sign, or with unused bits."""
    bits = stored.dtype.itemsize * 8
    if stored.dtype.kind == "i" and value >= 2 ** (bits - 1):
        return value - 2**bits
    if stored.dtype.kind == "u" and value < 0:
        value += 2**bits
    used = int(data.get("BitsStored") or bits)
    beyond = stored.dtype.kind == "u" and value >= 2**used and not (stored == value).any()
    return float(int(value) & (2**used - 1)) if beyond else value


def _rescaled(path: Path, data: Dataset, stored: np.ndarray) -> np.ndarray:
    """Stored values by the modality table, or by slope and intercept."""
    from pydicom.pixels.processing import apply_modality_lut

    slope, intercept = _number(path, data, "RescaleSlope"), _number(path, data, "RescaleIntercept")
    if slope is None and intercept is None and data.get("ModalityLUTSequence"):
        try:
            return np.asarray(apply_modality_lut(stored, data))
        except Exception as error:  # a damaged table raises anything
            raise _bad_attribute(path, "ModalityLUTSequence", _one_line(error)) from None
    slope, intercept = slope or 1.0, intercept or 0.0
    data.RescaleSlope, data.RescaleIntercept = repr(slope)[:16], repr(intercept)[:16]  # the windowing needs both
    return stored if (slope, intercept) == (1.0, 0.0) else stored.astype(np.float64) * slope + intercept


def _voi(path: Path, data: Dataset, values: np.ndarray) -> np.ndarray:
    """Values of interest: by the first usable window, else by the VOI table, else all."""
    from pydicom.pixels.processing import apply_voi, apply_windowing

    window = _window(path, data)
    if window is not None:
        data.WindowCenter, data.WindowWidth = (repr(value)[:16] for value in window)
        shown = apply_windowing(values, data)
    elif data.get("VOILUTSequence"):
        try:
            shown = apply_voi(values, data)
        except Exception as error:  # a damaged table raises anything
            raise _bad_attribute(path, "VOILUTSequence", _one_line(error)) from None
    else:
        return values
    return values if _is_flat(shown) else shown


def _window(path: Path, data: Dataset) -> tuple[float, float] | None:
    """Centre and width of the first window that has a width; an unknown VOI LUT function counts as LINEAR."""
    if str(data.get("VOILUTFunction") or "").upper() not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        data.VOILUTFunction = "LINEAR"
    least = 1.0 if data.VOILUTFunction.upper() == "LINEAR" else 1e-6
    centres, widths = (_numbers(path, data, key) for key in ("WindowCenter", "WindowWidth"))
    usable = ((c, w) for c, w in zip(centres, widths, strict=False) if c is not None and w is not None and w >= least)
    return next(usable, None)


def _is_flat(shown: np.ndarray) -> bool:
    """Whether nearly all pixels are as dark as the darkest, or as bright as the brightest."""
    return max((shown == shown.min()).mean(), (shown == shown.max()).mean()) >= FLAT


def _numbers(path: Path, data: Dataset, key: str) -> list[float | None]:
    """The numbers of an attribute; None for an empty one. Raises DataError."""
    try:
        value = data.get(key)
        items = list(value) if isinstance(value, list | tuple) or hasattr(value, "__iter__") else [value]
        numbers = [None if item in (None, "") else float(item) for item in items if not isinstance(item, bytes)]
    except Exception:  # a text that is no number raises while it is read
        raise _bad_attribute(path, key, "which is no number") from None
    if not all(number is None or np.isfinite(number) for number in numbers):
        raise _bad_attribute(path, key, "which is no finite number")
    return numbers


def _number(path: Path, data: Dataset, key: str) -> float | None:
    """The first number of an attribute; None if it is missing or empty. Raises DataError."""
    return next(iter(_numbers(path, data, key)), None)


def _bad_attribute(path: Path, key: str, reason: str) -> DataError:
    return DataError(str(path), f"{key} cannot be used ({reason})", "a valid attribute, or none", f"correct {key}")


def _grey_of_colour(values: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of (H, W, 3) numbers, weighted as ITU-R BT.601 does."""
    if values.dtype == np.uint8:
        from PIL import Image

        return np.asarray(Image.fromarray(values).convert("L"))
    return to_bytes(values.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
