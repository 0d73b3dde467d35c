"""Image labels in the report and in ``predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foundationx.tasks.classification.prediction import ClassificationExample, ClassificationPrediction
from foundationx.tasks.drawing import ClassSummary, Overlay, is_present

MOST_CLASSES = 5


def findings(example: ClassificationExample, classes: Sequence[str]) -> list[ClassSummary]:
    """What is present, then what was thought most likely."""
    likely = example.probabilities
    order = sorted(range(len(classes)), key=lambda k: (not example.labels[k] >= 0.5, -likely[k]))
    return [
        ClassSummary(classes[k], is_present(example.labels, k), f"{likely[k]:.2f}", float(likely[k]), None)
        for k in order[:MOST_CLASSES]
    ]


def describe(
    prediction: ClassificationPrediction, classes: Sequence[str], thresholds: Mapping[str, float], overlay: Overlay
) -> dict[str, float]:
    """Probability of every class; those of at least the class's threshold are noted in the picture."""
    values = dict(zip(classes, prediction.probabilities[0].tolist(), strict=True))
    reached = {name: value for name, value in values.items() if value >= thresholds[name]}
    overlay.note([f"{name} {value:.2f} (from {thresholds[name]:.2f})" for name, value in reached.items()])
    return {name: round(value, 4) for name, value in values.items()}
