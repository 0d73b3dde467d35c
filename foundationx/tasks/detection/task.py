"""Boxes around findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import Recorded
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import ReferenceSize
from foundationx.tasks.definition import SourceImage, TaskDefinition
from foundationx.tasks.detection import draw, record, trivial
from foundationx.tasks.detection.prediction import DetectionExample, DetectionPrediction
from foundationx.tasks.detection.target import Boxes, DetectionBatch, checked, collate, scaled
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay
from foundationx.tasks.fill import FillRules
from foundationx.tasks.table import TableRow

if TYPE_CHECKING:
    from torch import Tensor


class DetectionTask(TaskDefinition):
    """Boxes."""

    name = "detection"
    noun = "box"
    headline = "AP40"
    hub_task = "object-detection"
    library = "mmdet"
    columns = ("score", "x1", "y1", "x2", "y2")
    every_class = False
    part = "boxes"
    found_from = record.SHOWN_SCORE
    needed_steps = 300
    legend = (
        "Solid box: true, dashed box: predicted, with its score. "
        f"Drawn from a score of {record.SHOWN_SCORE:g} on; AP counts the lower ones too."
    )

    def annotation(self, parts: Mapping[str, Any]) -> Boxes:
        """Published boxes, not checked yet."""
        corners, regions = (
            np.asarray(parts.get(name, ()), dtype=np.float32).reshape(-1, 4) for name in ("boxes", "ignored_boxes")
        )
        classes, ignored = (
            np.asarray(parts.get(name, ()), dtype=np.int64) for name in ("box_classes", "ignored_classes")
        )
        return Boxes(corners, classes, regions, ignored)

    def unknown_regions(self, annotation: Boxes) -> int:
        """Regions that readers dispute, and crowds."""
        return len(annotation.ignored)

    def payload(self, annotation: Boxes, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Boxes x1 y1 x2 y2, and regions in which a class is unknown."""

        def rows(corners: np.ndarray, kinds: np.ndarray) -> list[dict[str, Any]]:
            pairs = zip(corners.tolist(), kinds.tolist(), strict=True)
            return [{"class": classes[kind], "box": box} for box, kind in pairs]

        regions = rows(annotation.ignored, annotation.ignored_classes)
        return {"boxes": rows(annotation.boxes, annotation.box_classes), "ignored_boxes": regions}

    def parts_of(self, payload: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """Boxes and regions."""
        index = {name: k for k, name in enumerate(classes)}
        parts: dict[str, Any] = {}
        for boxes, kinds in (("boxes", "box_classes"), ("ignored_boxes", "ignored_classes")):
            rows = payload.get(boxes, ())
            parts |= {boxes: [row["box"] for row in rows], kinds: [index[row["class"]] for row in rows]}
        return parts

    def count(self, annotation: Boxes) -> int:
        """Boxes."""
        return len(annotation)

    def scaled(self, annotation: Boxes, reference: ReferenceSize, size: tuple[int, int]) -> Boxes:
        """Boxes for a copy of the image in another size."""
        return scaled(annotation, reference, size)

    def target(self, annotation: Boxes, source: SourceImage) -> Boxes:
        """Boxes inside the image."""
        return checked(annotation, source)

    def batch(self, common: Mapping[str, Any], targets: Sequence[Boxes], size: tuple[int, int]) -> DetectionBatch:
        """Boxes as shares of the image, padded."""
        return collate(common, targets, size)

    def trunk_groups(self) -> Mapping[str, str]:
        """Neck, encoder and, if it is shared, the decoder."""
        return {"neck": "neck", "": "encoder", "decoder": "decoder.detection"}

    def shared_groups(self, config: ModelConfig) -> tuple[str, ...]:
        """The decoder only if datasets share it."""
        shared = ("neck", "encoder")
        return (*shared, "decoder.detection") if config.detection.sharing == "queries" else shared

    def record_truth(self, batch: DetectionBatch) -> dict[str, Recorded]:
        """True boxes and the sizes of the source images."""
        return record.record_truth(batch)

    def record_prediction(self, prediction: DetectionPrediction, batch: DetectionBatch) -> dict[str, Recorded]:
        """Predicted boxes with classes and scores."""
        return record.record_prediction(prediction, batch)

    def record_rows(
        self, rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]
    ) -> dict[str, Recorded]:
        """Boxes in pixels of the source image."""
        return record.record_rows(rows)

    def check_recorded(self, recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
        """Stored predictions as metrics rely on them. Raises ValueError."""
        record.check(recorded, images, classes)

    def image_scores(self, prediction: DetectionPrediction, classes: int) -> Tensor:
        """Score of the surest box; 0 without one."""
        scores = prediction.scores
        return scores.new_zeros(len(scores), classes).scatter_reduce(1, prediction.box_classes, scores, "amax")

    def fill_rules(self) -> FillRules:
        """How a teacher's boxes become annotations."""
        from foundationx.tasks.detection import fill

        return fill

    def example_class(self) -> type[DetectionExample]:
        """Truth and prediction of one image."""
        return DetectionExample

    def example(self, prediction: DetectionPrediction, batch: DetectionBatch, index: int) -> DetectionExample:
        """An image with true boxes and the better predicted ones."""
        return record.example(prediction, batch, index)

    def draw(self, canvas: Canvas, example: DetectionExample) -> None:
        """True boxes solid, predicted ones dashed with their score."""
        draw.draw(canvas, example)

    def findings(self, example: DetectionExample, classes: Sequence[str]) -> list[ClassSummary]:
        """Number of true and predicted boxes of each class."""
        return draw.findings(example, classes)

    def learn_trivial(
        self, labels: np.ndarray, batches: Iterable[Any], classes: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """The mean training box of every class."""
        return trivial.learn(batches, classes)

    def trivial_answers(
        self,
        learned: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        images: int,
        truth: Mapping[str, Recorded],
    ) -> dict[str, dict[str, Recorded]]:
        """The mean training box."""
        sizes = truth["sizes"]
        assert isinstance(sizes, np.ndarray)
        return {"trivial": trivial.answer(learned, classes, sizes)} if learned else {}

    def describe(
        self,
        prediction: DetectionPrediction,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> list[dict[str, Any]]:
        """Boxes in pixels of the source image."""
        return draw.describe(prediction, classes, size, thresholds, overlay)
