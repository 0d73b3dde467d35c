"""From a file to grey bytes. Formats are detected from the content, not from the file's name.

Every fault is a DataError that names the file.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from foundationx.core.errors import DataError
from foundationx.data.pixels.raw_images import (
    MAX_BYTES,
    MAX_SIDE,
    beside,
    check_size,
    data_file,
    is_metaimage,
    read_jsrt,
    read_metaimage,
    too_large,
    with_pixels,
)

__all__ = ["MAX_SIDE", "decode_grey", "read_bytes", "read_grey", "read_mask", "read_shared", "scale_to_bytes"]

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""What Pillow may try; some of its other formats start programs."""

_EXPECTED = "PNG, JPEG, TIFF, BMP, GIF, DICOM, MetaImage or a JSRT film"


def read_grey(path: Path) -> np.ndarray:
    """The image as (H, W) uint8, in the usual look: bones bright, air dark.

    16-bit images are scaled from their least and greatest value. Transparent pixels are laid over black. An orientation
    tag (EXIF) is applied. DICOM: rescale and VOI window, MONOCHROME1 inverted, then scaled like 16-bit images.
    MetaImage: as stored; JSRT: the negative of the stored film densities; both scaled like 16-bit images.

    Raises:
        DataError: the file is missing, empty, torn, too large or not an image.
    """
    return decode_grey(path, read_bytes(path))


def read_shared(path: Path) -> np.ndarray:
    """As :func:`read_grey`, for several heads: the image cannot be written to."""
    image = read_grey(path)
    image.flags.writeable = False
    return image


def decode_grey(path: Path, content: bytes) -> np.ndarray:
    """As :func:`read_grey`, of bytes that were read before; ``path`` is for messages. Raises DataError."""
    if _is_dicom(content):
        values = _read_dicom(path, content)
    elif is_metaimage(content):
        values = read_metaimage(path, content)
    elif (film := read_jsrt(content)) is not None:
        values = film
    else:
        values = _decode(path, content, _grey_values)
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        raise DataError(str(path), "holds pixels that are no numbers", "finite pixel values", "check its conversion")
    return scale_to_bytes(values)


def read_mask(path: Path) -> np.ndarray:
    """A mask as (H, W) uint8 with the values that are stored: grey values, or the indices of a palette.

    One bit gives 0 and 255. If a mask has transparent pixels its opacity is the mask; if all are opaque that says
    nothing and the other channels count. One colour on black, as in published cut-outs, gives its greatest channel.

    Raises:
        DataError: as for ``read_grey``; also a mask in several colours (their values are ambiguous) or with values
            above 255.
    """
    content = read_bytes(path)
    values = read_metaimage(path, content) if is_metaimage(content) else _decode(path, content, _mask_values)
    if values.ndim == 3:
        values = _one_channel(path, values)
    if not (values.min() >= 0 and values.max() <= 255):  # true for NaN too
        found = f"holds values from {values.min():g} to {values.max():g}"
        raise DataError(str(path), found, "a mask with values from 0 to 255", "store the mask with 8 bits")
    return values.astype(np.uint8)


def read_bytes(path: Path) -> bytes:
    """The bytes of an image file; a MetaImage pair (``.mhd`` with ``.raw``) is put together as one.

    Raises:
        DataError: It cannot be opened, is empty, not regular or larger than MAX_BYTES, or a part of it is missing.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe or device may never end
            raise DataError(str(path), "is no regular file", "an image file", "check the path")
        if status.st_size > MAX_BYTES:
            raise DataError(str(path), f"has {status.st_size:,} bytes", f"at most {MAX_BYTES:,}", "check the file")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be opened ({error.strerror})", "an image file", "check the path") from None
    if not content:
        raise DataError(str(path), "the file is empty", "an image", "download it again")
    pixels = data_file(path, content)
    return content if pixels is None else with_pixels(content, beside(path, pixels))


def _is_dicom(content: bytes) -> bool:
    return content[128:132] == b"DICM"


def _open(path: Path, content: bytes) -> Image.Image:
    """An image whose size is acceptable, not decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise too_large(path, "more pixels than any radiograph has") from None
    except Exception as error:  # a damaged header raises anything
        start = content[:16].decode("latin-1").replace("\n", " ")
        found = f"is not an image that can be read (it begins with {start!r}; {type(error).__name__})"
        raise DataError(str(path), found, _EXPECTED, "download it again") from None
    check_size(path, *image.size, channels=len(image.getbands()))
    return image


def _decode(path: Path, content: bytes, values_of: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """What ``values_of`` takes from the whole, upright image."""
    image = _open(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return values_of(ImageOps.exif_transpose(image))
    except Exception as error:  # each of Pillow's codecs raises its own kinds
        found = f"is truncated or damaged ({error})"
        raise DataError(str(path), found, "a complete image", "download it again") from None


def _grey_values(image: Image.Image) -> np.ndarray:
    """(H, W) uint8, or numbers of another type that are still to be scaled."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        return np.asarray(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L"))


def _mask_values(image: Image.Image) -> np.ndarray:
    """(H, W) numbers, or (H, W, 3) uint8 of a mask in RGB."""
    if image.mode in ("RGBA", "LA", "PA"):
        opacity = np.asarray(image.getchannel("A"))
        return opacity if opacity.min() < 255 else np.asarray(image.convert("RGB"))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    return np.asarray(image if image.mode in ("L", "P", "I", "I;16", "I;16B", "F") else image.convert("RGB"))


def _one_channel(path: Path, colours: np.ndarray) -> np.ndarray:
    """(H, W) of an (H, W, 3) mask that is grey or has one colour on black."""
    greatest = colours.max(axis=2)
    foreground = colours[greatest > 0]
    if (colours != colours[..., :1]).any() and (foreground != foreground[0]).any():
        raise DataError(str(path), "is a mask in several colours", "grey or a palette", "store one value per class")
    return greatest


def scale_to_bytes(values: np.ndarray) -> np.ndarray:
    """Any numbers to uint8: the least becomes 0, the greatest 255. A constant image becomes 0."""
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return cv2.convertScaleAbs((values - low) * (255.0 / (high - low)))


def _dicom(path: Path, content: bytes) -> Any:
    """The dataset of a DICOM file that claims one grey image of an acceptable size."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if DeflatedExplicitVRLittleEndian.encode("ascii") in content:  # pydicom unpacks all of it, to any size
        found = "is packed as a whole (Deflated Explicit VR Little Endian)"
        raise DataError(str(path), found, "packed pixels, or none", "convert it to another transfer syntax")
    try:
        data = pydicom.dcmread(io.BytesIO(content))
        rows, columns = int(data.Rows), int(data.Columns)
        frames, channels = int(data.get("NumberOfFrames") or 1), int(data.SamplesPerPixel)
    except Exception as error:  # a damaged header raises anything
        found = f"is not a readable DICOM image ({_one_line(error)})"
        raise DataError(str(path), found, "a complete DICOM image", "download it again") from None
    check_size(path, columns, rows)
    if frames != 1 or channels != 1:
        found = f"holds {frames} frames of {channels} channels"
        raise DataError(str(path), found, "one grey frame", "extract the radiograph")
    return data


def _read_dicom(path: Path, content: bytes) -> np.ndarray:
    """(H, W) numbers in the usual look, still to be scaled."""
    from pydicom.pixels.processing import apply_rescale, apply_voi_lut

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = _dicom(path, content)
        try:
            values = apply_voi_lut(apply_rescale(data.pixel_array, data), data, prefer_lut=False)
        except Exception as error:  # and so does each of its decoders
            found = f"its pixels cannot be decoded ({_one_line(error)})"
            raise DataError(str(path), found, "complete pixel data", "download it again") from None
    values = values.astype(np.float32)
    return -values if data.get("PhotometricInterpretation") == "MONOCHROME1" else values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
