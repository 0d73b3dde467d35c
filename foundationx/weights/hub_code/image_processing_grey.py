"""Images for a model that was trained with foundationx: grey, stretched to a square, in three equal channels.

Sizes are changed as OpenCV does it for bytes: averages of areas if the image shrinks, else linear interpolation.
"""

from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

UNIT = 2048
SLIVER = 1e-3


class GreyImageProcessor(BaseImageProcessor):
    """Grey images of 8 bits and of any size to normalised pixels (B, 3, S, S).

    Args:
        size: ``height`` and ``width`` of the result, which are equal.
        image_mean: Mean of each of the three channels, of pixels in [0, 1].
        image_std: Standard deviation of each.
        network_size: Side to which normalised pixels are resized at last, as in training, if patches do not divide S.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  (as in transformers)

    def __init__(
        self,
        size: dict[str, int] | None = None,
        image_mean: Any = (0.485, 0.456, 0.406),
        image_std: Any = (0.229, 0.224, 0.225),
        network_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size = dict(size or {"height": 224, "width": 224})
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.network_size = network_size

    def preprocess(self, images: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchFeature:
        """One image, or several: Pillow images, arrays or tensors (H, W), (H, W, 3) or (3, H, W), of 8 bits."""
        several = images if isinstance(images, list | tuple) else [images]
        side = self.size["height"]
        grey = np.stack([resized(grey_bytes(image), side) for image in several])[:, None] / 255.0
        mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (self.image_mean, self.image_std))
        pixels = ((grey - mean) / std).astype(np.float32)
        if self.network_size:
            fitted = [self.network_size, self.network_size]
            resize = torch.nn.functional.interpolate
            pixels = resize(torch.from_numpy(pixels), fitted, mode="bilinear", align_corners=False).numpy()
        return BatchFeature(data={"pixel_values": pixels}, tensor_type=return_tensors)


def grey_bytes(image: Any) -> np.ndarray:
    """(H, W) uint8. Raises ValueError: the image has more than 8 bits, whose range only the user knows."""
    if hasattr(image, "mode") and image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        image = image.convert("L")
    values = np.asarray(image)
    if values.dtype != np.uint8:
        raise ValueError(f"an image of {values.dtype}: scale it to bytes (uint8), bones bright, before")
    if values.ndim == 3:
        values = values.transpose(1, 2, 0) if values.shape[0] in (1, 3) and values.shape[2] not in (1, 3) else values
        weights = [0.299, 0.587, 0.114] if values.shape[2] == 3 else [1.0]
        values = np.round(values @ np.array(weights)).astype(np.uint8)
    return values


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W) uint8 to (side, side), bytes as numbers."""
    height, width = image.shape
    if height < side or width < side:
        return _interpolated(image.astype(np.float64), side)
    averaged = _areas(height, side) @ image.astype(np.float64) @ _areas(width, side).T
    return np.clip(np.round(averaged + 1e-3 * (height == width == 2 * side)), 0, 255)


def _areas(length: int, side: int) -> np.ndarray:
    scale = length / side
    start, left = np.arange(side)[:, None] * scale, np.arange(length)[None]
    shared = np.minimum(left + 1, start + scale) - np.maximum(left, start)
    return np.where(shared > SLIVER, shared, 0.0) / scale


def _interpolated(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape
    column, share = _positions(width, side)
    share = np.where((column >= 0) & (column < width - 1), share, 0.0)
    left, right = (image[:, np.clip(index, 0, width - 1)] for index in (column, column + 1))
    lines = np.floor((left * (UNIT - share) + right * share) / 16)
    row, share = _positions(height, side)
    upper, lower = (lines[np.clip(index, 0, height - 1)] for index in (row, row + 1))
    upper, lower = np.floor(upper * (UNIT - share)[:, None] / 65536), np.floor(lower * share[:, None] / 65536)
    return np.floor((upper + lower + 2) / 4)


def _positions(length: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    position = ((np.arange(side) + 0.5) * (length / side) - 0.5).astype(np.float32)
    cell = np.floor(position)
    return cell.astype(int), np.round((position - cell) * UNIT).astype(np.float64)
