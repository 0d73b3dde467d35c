"""Pixels of the views that a self-supervised objective asks for. Ships boxes and pixels only; the rest is geometry."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.config.views import GeometryConfig, PhotometryConfig
from foundationx.core.geometry.views import START, TrainingProgress, View, ViewPixels, ViewSet, identity_order
from foundationx.core.types import Annotations, Sample, SampleMeta
from foundationx.data.cache.store import Cached, TaskCache
from foundationx.data.dataset import ImageDataset
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.data.transforms.distort import distort
from foundationx.tasks.definition import ViewPlan


class ViewSetDataset(ImageDataset):
    """Images of a dataset, each as the set of views that an objective asks for; labels are not read.

    Args:
        annotations: Images of the dataset, without classes.
        root: Folder of the dataset.
        plan: Gives the views of an image.
        photometry: Photometric transforms, for views that have any.
        cache: Full-size images that were decoded before; what is not in it is decoded.
    """

    def __init__(
        self,
        annotations: Annotations,
        root: Path,
        plan: ViewPlan,
        photometry: PhotometryConfig,
        cache: TaskCache | None = None,
    ):
        super().__init__(annotations, root, cache)
        self.plan, self.photometry = plan, photometry
        self._pipelines: dict[tuple[int, float, bool], ViewPipeline] = {}

    def sample(self, index: int, seed: int, training_progress: TrainingProgress = START) -> Sample:
        """The views of image ``index``: a function of ``seed`` and training progress. Raises DataError."""
        source = self.annotations
        cached = self.cache.read(index) if self.cache is not None else None
        image = self.decode(index).image if cached is None else cached.image
        random = np.random.default_rng(seed)
        size = (image.shape[0], image.shape[1])
        views = {view.name: self._show(image, view, random) for view in self.plan(size, training_progress, random)}
        meta = SampleMeta(source.key, source.images[index], source.patients[index], source.rows[index], *size)
        first = next(iter(views.values())).image
        return Sample(first, source.labels[index], meta, target=ViewSet(views, training_progress))

    def decode(self, index: int) -> Cached:
        """Image ``index`` at full size. Raises DataError as :meth:`sample`."""
        image = self._read(read_grey, self.annotations.images[index], index)
        return Cached(image, None, *image.shape)

    def _show(self, image: np.ndarray, view: View, random: np.random.Generator) -> ViewPixels:
        """Cuts, turns, distorts, shuffles and tones, in this order."""
        pixels = crop(image, view.window, view.size)
        seed = int(random.integers(2**32))
        if view.rotate or view.toned:
            pixels = self._pipeline(view)(pixels, None, seed).image
        if view.distorted:
            pixels = distort(pixels, random)
        order = identity_order(view.cells) if view.order is None else view.order
        if view.order is not None:
            pixels = shuffle_blocks(pixels, view.order)
        return ViewPixels(pixels, view.window.astype(np.float32), order)

    def _pipeline(self, view: View) -> ViewPipeline:
        """Rotation and tones for views of one kind, made once."""
        kind = (view.size, view.rotate, view.toned)
        if kind not in self._pipelines:
            photometry = self.photometry if view.toned else PhotometryConfig()
            self._pipelines[kind] = ViewPipeline(view.size, GeometryConfig(rotate=view.rotate), photometry)
        return self._pipelines[kind]


def crop(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The pixels of a box, stretched to a square of ``size``.

    Areas are averaged if the view is coarser than the image; what remains is linear interpolation between pixel
    middles, so that boxes need not lie on whole pixels.

    Args:
        image: (H, W), any type that OpenCV resizes.
        box: (4,) y0 x0 y1 x1 inside the image, in pixels.
        size: Side of the result.
    """
    top, left = math.floor(box[0]), math.floor(box[1])
    region = image[top : math.ceil(box[2]), left : math.ceil(box[3])]
    pitch = (box[2:] - box[:2]) / size
    rows, columns = (max(1, round(n / max(1.0, p))) for n, p in zip(region.shape, pitch, strict=True))
    scale = np.array([rows, columns]) / region.shape  # of the averaged region to the source
    if (rows, columns) != region.shape:
        region = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    step = pitch * scale
    start = (box[:2] - (top, left)) * scale + step / 2 - 0.5  # the middle of the view's first pixel
    if np.allclose(step, 1) and np.allclose(start, np.round(start)):
        y, x = np.round(start).astype(int)
        return np.ascontiguousarray(region[y : y + size, x : x + size])
    to_source = np.array([[step[1], 0, start[1]], [0, step[0], start[0]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(region, to_source, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def shuffle_blocks(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Puts block ``order[i]`` of a square image at position i; N blocks, numbered row by row."""
    cells = math.isqrt(len(order))
    side = image.shape[0] // cells
    blocks = image.reshape(cells, side, cells, side).swapaxes(1, 2).reshape(-1, side, side)
    return blocks[order].reshape(cells, cells, side, side).swapaxes(1, 2).reshape(image.shape)
