"""Boxes and masks of one image, moved together: what their tests hold against each other."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from foundationx.core.config.views import GeometryConfig, PhotometryConfig
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.tasks.detection.target import Boxes
from foundationx.tasks.segmentation.target import ImageMasks


@dataclass
class Together:
    """Targets that are resized and moved by the same; None stays None."""

    targets: tuple

    def resized(self, size, side):
        return Together(tuple(None if target is None else target.resized(size, side) for target in self.targets))

    def moved(self, move):
        return Together(tuple(None if target is None else target.moved(move) for target in self.targets))


class Pipeline(ViewPipeline):
    """A pipeline that takes and gives boxes, their classes and masks beside the image; options are dictionaries."""

    def __init__(self, size, geometry=None, photometry=None, teacher="same"):
        super().__init__(size, GeometryConfig(**(geometry or {})), PhotometryConfig(**(photometry or {})), teacher)

    def __call__(self, image, boxes, box_classes, masks, seed):
        given = (None if boxes is None else Boxes(boxes, box_classes), None if masks is None else ImageMasks(masks))
        view = super().__call__(image, Together(given), seed)
        boxes, masks = view.target.targets
        return SimpleNamespace(
            image=view.image,
            teacher_image=view.teacher_image,
            boxes=None if boxes is None else boxes.boxes,
            box_classes=None if boxes is None else boxes.box_classes,
            masks=None if masks is None else masks.masks,
        )
