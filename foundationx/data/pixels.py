"""From a file to grey bytes. What a file is called says nothing: PNG, JPEG and DICOM are told apart by their content.

Every fault is a DataError that names the file.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from foundationx.errors import DataError

MAX_SIDE = 20_000
"""Pixels; a larger side is refused before decoding (a small file can claim any size)."""

MAX_PIXELS = 150_000_000
"""Refused above this, for the same reason."""

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}


def read_grey(path: Path) -> np.ndarray:
    """The image as (H, W) uint8, bright where the film is bright in the usual look (bones bright, air dark).

    16-bit images are scaled from their least and greatest value. Transparent pixels are laid over black. A JPEG's
    orientation tag is applied. DICOM: rescale and VOI window, MONOCHROME1 inverted, then scaled like 16-bit images.

    Raises:
        DataError: the file is missing, empty, torn, too large or not an image.
    """
    content = _read_bytes(path)
    if _kind(content) == "DICOM":
        return _read_dicom(path, content)
    return _to_grey(_decode(path, content))


def read_mask(path: Path) -> np.ndarray:
    """A mask as (H, W) uint8 with the values that are stored; of several channels the first, of 16 bits the low byte.

    Raises:
        DataError: as for ``read_grey``.
    """
    image = _decode(path, _read_bytes(path))
    if image.mode in ("RGBA", "LA"):
        return np.asarray(image.getchannel("A"))
    values = np.asarray(image if image.mode in ("L", "P", "I", "I;16", "1") else image.convert("RGB"))
    if values.ndim == 3:
        values = values[..., 0]
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.max(initial=0) > 255:
        found = f"holds values up to {int(values.max())}"
        raise DataError(str(path), found, "a mask with values up to 255", "store the mask with 8 bits")
    return values.astype(np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width, without decoding the pixels.

    Raises:
        DataError: as for ``read_grey``.
    """
    content = _read_bytes(path)
    if _kind(content) == "DICOM":
        header = _dicom_header(path, content, stop_before_pixels=True)
        return int(header.Rows), int(header.Columns)
    with _open(path, content) as image:
        return image.height, image.width


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be opened ({error.strerror})", "an image file", "check the path") from None
    if not content:
        raise DataError(str(path), "the file is empty", "an image", "download it again")
    return content


def _kind(content: bytes) -> str:
    if content[128:132] == b"DICM":
        return "DICOM"
    return next((name for signature, name in _SIGNATURES.items() if content.startswith(signature)), "other")


def _open(path: Path, content: bytes) -> Image.Image:
    """An image whose size is acceptable, not decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        start = content[:16].decode("latin-1").replace("\n", " ")
        found = f"is not an image that can be read (it begins with {start!r}; {type(error).__name__})"
        raise DataError(str(path), found, "PNG, JPEG or DICOM", "download it again") from None
    if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
        found = f"claims {image.width} x {image.height} pixels"
        raise DataError(str(path), found, f"at most {MAX_SIDE} a side and {MAX_PIXELS:,} in all", "check the file")
    return image


def _decode(path: Path, content: bytes) -> Image.Image:
    image = _open(path, content)
    try:
        image.load()
    except Exception as error:  # each of PIL's codecs raises its own kinds
        found = f"is torn or damaged ({error})"
        raise DataError(str(path), found, "a whole image", "download it again") from None
    return ImageOps.exif_transpose(image)


def _to_grey(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        return scale_to_bytes(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L"))


def scale_to_bytes(values: np.ndarray) -> np.ndarray:
    """Any numbers to uint8: the least becomes 0, the greatest 255. A constant image becomes 0."""
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return cv2.convertScaleAbs((values - low) * (255.0 / (high - low)))


def _dicom_header(path: Path, content: bytes, stop_before_pixels: bool):  # noqa: ANN202  (pydicom.Dataset, imported late)
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=stop_before_pixels)
        rows, columns = int(data.Rows), int(data.Columns)
    except Exception as error:
        raise DataError(str(path), f"is not a readable DICOM image ({error})", "a whole DICOM image") from None
    if max(rows, columns) > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise DataError(str(path), f"claims {columns} x {rows} pixels", f"at most {MAX_SIDE} a side")
    return data


def _read_dicom(path: Path, content: bytes) -> np.ndarray:
    from pydicom.pixels import apply_rescale, apply_voi_lut

    data = _dicom_header(path, content, stop_before_pixels=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = data.pixel_array
            if pixels.ndim != 2:
                shape = " x ".join(map(str, pixels.shape))
                raise DataError(str(path), f"holds pixels of shape {shape}", "one grey frame")
            values = apply_voi_lut(apply_rescale(pixels, data), data, prefer_lut=False)
    except DataError:
        raise
    except Exception as error:
        found = f"its pixels cannot be decoded ({' '.join(str(error).split())[:200]})"
        raise DataError(str(path), found, "whole pixel data", "download it again") from None
    grey = scale_to_bytes(values)
    return 255 - grey if data.get("PhotometricInterpretation") == "MONOCHROME1" else grey
