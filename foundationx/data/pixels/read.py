"""From a file to grey bytes. Formats are detected from the content, not from the file's name.

Every fault is a DataError that names the file.
"""

from __future__ import annotations

import io
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from foundationx.core.errors import DataError
from foundationx.core.failed_downloads import check_download
from foundationx.data.pixels.dicom import is_dicom, read_dicom
from foundationx.data.pixels.grey_range import check_numbers, to_bytes
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
from foundationx.datasets.stores import store as stores

__all__ = ["MAX_SIDE", "decode_grey", "read_annotated_mask", "read_bytes", "read_grey", "read_mask", "read_shared"]

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""What Pillow may try; some of its other formats start programs."""

_SUBFILE = 254
"""Tag of a TIFF page whose lowest bit marks a reduced copy of another page."""

_JPEG = b"\xff\xd8"
"""First bytes of a JPEG."""

_EXPECTED = "PNG, JPEG, TIFF, BMP, GIF, DICOM, MetaImage or a JSRT film"


def read_grey(path: Path) -> np.ndarray:
    """The image as (H, W) uint8, in the usual look: bones bright, air dark.

    8-bit images keep their values; others are scaled from their least and greatest value, without frames, hot pixels
    and markers (:func:`~foundationx.data.pixels.grey_range.grey_range`). Transparent pixels are laid over black. An
    orientation tag (EXIF) is applied. DICOM: rescale and VOI window, MONOCHROME1 inverted, padding black, then scaled.
    MetaImage: as stored; JSRT: the negative of the stored film densities; both are scaled.

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
    if is_dicom(content):
        return read_dicom(path, content)
    if is_metaimage(content):
        values = read_metaimage(path, content)
    elif (film := read_jsrt(content)) is not None:
        values = film
    else:
        values = _decode(path, content, _grey_values)
    if values.dtype == np.uint8:
        return values
    check_numbers(path, values)
    return to_bytes(values)


def read_mask(path: Path) -> np.ndarray:
    """A mask as (H, W) uint8 with the values that are stored: grey values, or the indices of a palette.

    One bit gives 0 and 255, and so do 0 and 65,535 in 16 bits. If a mask has transparent pixels its opacity is the
    mask; if all are opaque that says nothing and the other channels count. One colour on black, as in published
    cut-outs, gives its greatest channel.

    Raises:
        DataError: as for ``read_grey``; also a mask in several colours (their values are ambiguous) or with values
            above 255.
    """
    return _mask(path, read_bytes(path))


def read_annotated_mask(path: Path) -> np.ndarray:
    """As :func:`read_mask`, of an annotation: a JPEG has to hold 0 and one value.

    JPEG changes the values around an outline, so that no rule for single values gives the mask that was drawn: "any but
    0" takes in the noise, and one value leaves out the rim.

    Raises:
        DataError: as for :func:`read_mask`; also a JPEG with more than two values.
    """
    content = read_bytes(path)
    values = _mask(path, content)
    count = len(np.unique(values)) if content.startswith(_JPEG) else 0
    if count > 2:
        found = f"is a JPEG with {count} grey values: its packing has changed the pixels around the outlines"
        fix = f"take the masks in PNG, or convert them: {values.max() // 2 + 1} and above becomes 255, the rest 0"
        raise DataError(str(path), found, "a mask of 0 and one value, as PNG keeps it", fix)
    return values


def _mask(path: Path, content: bytes) -> np.ndarray:
    """The mask in a file's bytes: see :func:`read_mask`."""
    values = read_metaimage(path, content) if is_metaimage(content) else _decode(path, content, _mask_values)
    if values.ndim == 3:
        values = _one_channel(path, values)
    if values.dtype.kind in "iu" and values.max() > 255 and not (values % 257).any():
        values = values // 257  # eight bits written with sixteen: 65,535 is 255
    if not (values.min() >= 0 and values.max() <= 255):  # true for NaN too
        found = f"holds values from {values.min():g} to {values.max():g}"
        raise DataError(str(path), found, "a mask with values from 0 to 255", "store the mask with 8 bits")
    return values.astype(np.uint8)


def read_bytes(path: Path) -> bytes:
    """The bytes of an image file; a MetaImage pair (``.mhd`` with ``.raw``) is put together as one.

    The file may lie in a zip, tar or Parquet file.

    Raises:
        DataError: It cannot be opened, is empty, not regular or larger than MAX_BYTES, or a part of it is missing.
    """
    try:
        packed = stores.read(path)
        if packed is not None:
            return _not_empty(path, packed)
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe or device may never end
            raise DataError(str(path), "is no regular file", "an image file", "check the path")
        if status.st_size > MAX_BYTES:
            raise DataError(str(path), f"has {status.st_size:,} bytes", f"at most {MAX_BYTES:,}", "check the file")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be opened ({error.strerror})", "an image file", "check the path") from None
    pixels = data_file(path, _not_empty(path, content))
    return content if pixels is None else with_pixels(content, beside(path, pixels))


def _not_empty(path: Path, content: bytes) -> bytes:
    if not content:
        raise DataError(str(path), "the file is empty", "an image", "download it again")
    return content


def _open(path: Path, content: bytes) -> Image.Image:
    """An image whose size is acceptable, not decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise too_large(path, "more pixels than any radiograph has") from None
    except Exception as error:  # a damaged header raises anything
        if (packing := _unread_jpeg(content)) is not None:
            raise _other_jpeg(path, packing) from None
        check_download(str(path), content, _EXPECTED)
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
            pages = _pages(image)
            image.load()
            values = values_of(ImageOps.exif_transpose(image))
    except Exception as error:  # each of Pillow's codecs raises its own kinds
        if (packing := _unread_jpeg(content)) is not None:
            raise _other_jpeg(path, packing) from None
        found = f"is truncated or damaged ({error})"
        raise DataError(str(path), found, "a complete image", "download it again") from None
    if pages > 1:
        raise DataError(str(path), f"holds {pages} images", "one image", "extract the radiograph")
    return values


def _pages(image: Image.Image) -> int:
    """How many images a TIFF or GIF holds, reduced copies left out; 1 for other formats."""
    count = 0
    for page in range(getattr(image, "n_frames", 1) if image.format in ("TIFF", "GIF") else 0):
        image.seek(page)
        count += not int(getattr(image, "tag_v2", {}).get(_SUBFILE, 0)) & 1
    if count:
        image.seek(0)
    return max(count, 1)


def _other_jpeg(path: Path, packing: str) -> DataError:
    """The error for a JPEG that Pillow cannot read."""
    found, fix = f"is a JPEG of {packing}, which is not read", "convert it to PNG; the file may be whole"
    return DataError(str(path), found, "a JPEG of 8 bits (baseline or progressive)", fix)


def _unread_jpeg(content: bytes) -> str | None:
    """What keeps Pillow from reading a JPEG by the header of its frame; None for another fault or format."""
    frame = re.search(rb"\xff([\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf])..(.)", content[: 2**20], re.DOTALL)
    if not content.startswith(_JPEG) or frame is None:
        return None
    kind, bits = frame[1][0], frame[2][0]
    if kind in (0xC3, 0xC7, 0xCB, 0xCF):
        return "lossless coding"
    return f"{bits} bits" if bits > 8 else None


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
