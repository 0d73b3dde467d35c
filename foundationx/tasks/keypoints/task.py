"""Named points, such as landmarks of the anatomy, the run of a tube or the middle of a nodule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import Recorded
from foundationx.core.types import ReferenceSize
from foundationx.tasks.definition import SourceImage, TaskDefinition
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay
from foundationx.tasks.fill import FillRules
from foundationx.tasks.keypoints import draw, record, target, trivial
from foundationx.tasks.keypoints.prediction import KeypointsExample, KeypointsPrediction
from foundationx.tasks.keypoints.target import KeypointsBatch, Points
from foundationx.tasks.table import TableRow

if TYPE_CHECKING:
    from torch import Tensor


class KeypointsTask(TaskDefinition):
    """Points, one per class."""

    name = "keypoints"
    noun = "point"
    headline = "MRE"
    hub_task = "keypoint-detection"
    columns = ("score", "x", "y")
    part = "keypoints"
    chance = None
    needed_steps = 300
    legend = "Disc: true point, cross: predicted one, of a visibility of 0.5 or more."

    def annotation(self, parts: Mapping[str, Any]) -> Points:
        """Published points, not checked yet."""
        return target.published(parts)

    def payload(self, annotation: Points, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Points with a known place, and the size of a pixel."""
        pairs = zip(classes, annotation.points.tolist(), annotation.visible.tolist(), strict=True)
        rows = [{"class": name, "point": point} for name, point, visible in pairs if visible > 0]
        spacing = annotation.spacing.tolist()
        return {"points": rows} | ({"spacing": [{"mm": spacing}]} if np.isfinite(spacing).all() else {})

    def parts_of(self, payload: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """Points and the size of a pixel."""
        points = np.full((len(classes), 2), np.nan, dtype=np.float32)
        for row in payload.get("points", ()):
            points[classes.index(row["class"])] = row["point"]
        spacing = [row["mm"] for row in payload.get("spacing", ())]
        return {"points": points} | ({"spacing": spacing[0]} if spacing else {})

    def count(self, annotation: Points) -> int:
        """Points with a known place."""
        return int(np.isfinite(annotation.points).all(axis=1).sum())

    def scaled(self, annotation: Points, reference: ReferenceSize, size: tuple[int, int]) -> Points:
        """Points for a copy of the image in another size."""
        return target.scaled(annotation, reference, size)

    def target(self, annotation: Points, source: SourceImage) -> Points:
        """Points inside the image."""
        return target.checked(annotation, source)

    def batch(self, common: Mapping[str, Any], targets: Sequence[Points], size: tuple[int, int]) -> KeypointsBatch:
        """Points as shares of the image."""
        return target.collate(common, targets, size)

    def trunk_groups(self) -> Mapping[str, str]:
        """The feature pyramid."""
        return {"": "decoder.keypoints"}

    def record_truth(self, batch: KeypointsBatch) -> dict[str, Recorded]:
        """True points and the sizes of the images."""
        return record.record_truth(batch)

    def record_prediction(self, prediction: KeypointsPrediction, batch: KeypointsBatch) -> dict[str, Recorded]:
        """Predicted points and their visibility."""
        return record.record_prediction(prediction, batch)

    def record_rows(
        self, rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]
    ) -> dict[str, Recorded]:
        """Points in pixels of the source image."""
        return record.record_rows(rows)

    def check_recorded(self, recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
        """Stored predictions as metrics rely on them. Raises ValueError."""
        record.check(recorded, images, classes)

    def image_scores(self, prediction: KeypointsPrediction, classes: int) -> Tensor:
        """Probability that each point is visible."""
        return prediction.visibilities

    def fill_rules(self) -> FillRules:
        """How a teacher's points become annotations."""
        from foundationx.tasks.keypoints import fill

        return fill

    def example_class(self) -> type[KeypointsExample]:
        """Truth and prediction of one image."""
        return KeypointsExample

    def example(self, prediction: KeypointsPrediction, batch: KeypointsBatch, index: int) -> KeypointsExample:
        """An image with true and predicted points."""
        return record.example(prediction, batch, index)

    def draw(self, canvas: Canvas, example: KeypointsExample) -> None:
        """True points as discs, predicted ones as crosses."""
        draw.draw(canvas, example)

    def findings(self, example: KeypointsExample, classes: Sequence[str]) -> list[ClassSummary]:
        """How far each point, or group of points, is off."""
        return draw.findings(example, classes)

    def learn_trivial(
        self, labels: np.ndarray, batches: Iterable[Any], classes: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """The mean training place of every point."""
        return trivial.learn(batches, classes)

    def trivial_answers(
        self,
        learned: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        images: int,
        truth: Mapping[str, Recorded],
    ) -> dict[str, dict[str, Recorded]]:
        """The mean training place."""
        sizes = truth["sizes"]
        assert isinstance(sizes, np.ndarray)
        return {"trivial": trivial.answer(learned, classes, sizes)} if learned else {}

    def describe(
        self,
        prediction: KeypointsPrediction,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> list[dict[str, Any]]:
        """Points in pixels of the source image."""
        return draw.describe(prediction, classes, size, thresholds, overlay)
