"""Masks of findings and organs, which may overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import Masks, Recorded
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import MaskPart, ReferenceSize, Task
from foundationx.tasks.definition import SourceImage, TaskDefinition
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay
from foundationx.tasks.fill import FillRules
from foundationx.tasks.segmentation import draw, record, target, trivial
from foundationx.tasks.segmentation.prediction import SegmentationExample, SegmentationPrediction
from foundationx.tasks.segmentation.target import ImageMasks, SegmentationBatch
from foundationx.tasks.table import TableRow

if TYPE_CHECKING:
    from torch import Tensor


class SegmentationTask(TaskDefinition):
    """Masks."""

    name = "segmentation"
    noun = "mask"
    headline = "Dice"
    hub_task = "image-segmentation"
    library = "mmseg"
    columns = ("mask",)
    part = "masks"
    is_cached = True
    legend = "Tinted with a solid edge: true, dashed edge: predicted, striped: unknown."

    def annotation(self, parts: Mapping[str, Any]) -> tuple[MaskPart, ...]:
        """Parts of masks, not drawn yet."""
        return tuple(parts.get("masks", ()))

    def payload(self, annotation: tuple[MaskPart, ...], classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Mask files with the meaning of their pixels, polygons, and runs."""
        return {"masks": [target.payload(part, classes[part.class_index]) for part in annotation]}

    def parts_of(self, payload: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """Parts of masks."""
        index = {name: k for k, name in enumerate(classes)}
        return {"masks": [target.part_of(row, index[row["class"]]) for row in payload.get("masks", ())]}

    def files(self, annotation: tuple[MaskPart, ...]) -> tuple[str, ...]:
        """Mask files."""
        return tuple(part.file for part in annotation if part.file)

    def target(self, annotation: tuple[MaskPart, ...], source: SourceImage) -> ImageMasks:
        """The masks drawn at the image's size."""
        return target.draw(annotation, source)

    def scaled(
        self, annotation: tuple[MaskPart, ...], reference: ReferenceSize, size: tuple[int, int]
    ) -> tuple[MaskPart, ...]:
        """Parts of masks for a copy of the image in another size."""
        return tuple(target.scaled(part, reference, size) for part in annotation)

    def target_facts(
        self, annotation: tuple[MaskPart, ...], labels: np.ndarray, file_state: Callable[[str], str]
    ) -> list[str]:
        """Unknown classes and all parts."""
        return target.facts(annotation, labels, file_state)

    def pack(self, target_: ImageMasks) -> bytes:
        """Compressed masks."""
        return target.pack(target_)

    def unpack(self, content: np.ndarray, side: int) -> ImageMasks:
        """Masks from their compressed bytes."""
        return target.unpack(content, side)

    def batch(
        self, common: Mapping[str, Any], targets: Sequence[ImageMasks], size: tuple[int, int]
    ) -> SegmentationBatch:
        """Masks one beside the other."""
        return target.collate(common, targets, size)

    def trunk_groups(self) -> Mapping[str, str]:
        """PPM and FPN."""
        return {"": "decoder.segmentation"}

    def guide(self, config: ModelConfig) -> Task | None:
        """Detection, with a region gate."""
        return Task.DETECTION if config.region_gate is not None else None

    def guided(
        self, features: Sequence[Tensor], prediction: Any, size: tuple[int, int], config: ModelConfig
    ) -> Sequence[Tensor]:
        """Features brightened in and around predicted boxes."""
        if config.region_gate is None:
            return features
        from foundationx.tasks.segmentation.region_gate import gate_features

        return gate_features(features, prediction.relative_boxes, prediction.scores, size, config.region_gate)

    def record_truth(self, batch: SegmentationBatch) -> dict[str, Recorded]:
        """True and known pixels."""
        return record.record_truth(batch)

    def record_prediction(self, prediction: SegmentationPrediction, batch: SegmentationBatch) -> dict[str, Recorded]:
        """Predicted pixels."""
        return record.record_prediction(prediction, batch)

    def record_rows(
        self, rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]
    ) -> dict[str, Recorded]:
        """Mask files."""
        return record.record_rows(rows, side, read_mask)

    def check_recorded(self, recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
        """Stored predictions as metrics rely on them. Raises ValueError."""
        record.check(recorded, images, classes)

    def image_scores(self, prediction: SegmentationPrediction, classes: int) -> Tensor:
        """Probability of the surest pixel."""
        return prediction.masks.flatten(2).amax(dim=2)

    def fill_rules(self) -> FillRules:
        """How a teacher's masks become annotations."""
        from foundationx.tasks.segmentation import fill

        return fill

    def example_class(self) -> type[SegmentationExample]:
        """Truth and prediction of one image."""
        return SegmentationExample

    def example(self, prediction: SegmentationPrediction, batch: SegmentationBatch, index: int) -> SegmentationExample:
        """An image with true and predicted masks."""
        return record.example(prediction, batch, index)

    def draw(self, canvas: Canvas, example: SegmentationExample) -> None:
        """True masks tinted, predicted ones outlined."""
        draw.draw(canvas, example)

    def findings(self, example: SegmentationExample, classes: Sequence[str]) -> list[ClassSummary]:
        """Dice of each class that is drawn."""
        return draw.findings(example, classes)

    def learn_trivial(
        self, labels: np.ndarray, batches: Iterable[Any], classes: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """The mean training mask of every class."""
        return trivial.learn(batches, classes)

    def trivial_answers(
        self,
        learned: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        images: int,
        truth: Mapping[str, Recorded],
    ) -> dict[str, dict[str, Recorded]]:
        """The mean training mask, and empty masks."""
        true = truth["true_masks"]
        assert isinstance(true, Masks)
        answers = {"trivial": trivial.answer(learned, classes, true.sizes)} if learned else {}
        return answers | {"empty": trivial.nothing(classes, true.sizes)}

    def describe(
        self,
        prediction: SegmentationPrediction,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> list[dict[str, Any]]:
        """Covered share of the image and outlines in its pixels."""
        return draw.describe(prediction, classes, size, overlay)
