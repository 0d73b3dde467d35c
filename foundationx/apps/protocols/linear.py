"""Linear probing: a frozen backbone's embedding, standardised, and one logistic regression per class.

As published the probe's learning rate rises and the best test epoch is reported. Here the
strength of regularisation is chosen on validation and test is looked at once.
"""

from __future__ import annotations

from pydantic import Field

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.apps.protocols.embedding import best_probe, check_projector, embed, predictions_of
from foundationx.core.config.model import Section
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.measure import statistics
from foundationx.evaluation.predictions import Predictions

SHOWN = ("AUROC", "AUPRC")


class Options(Section):
    """What is embedded."""

    projected: bool = Field(False, description="embed after the projector, which the model has to have")


def run(request: Request, options: Options) -> Result:
    """Fits on training images, chooses C on validation, and evaluates on test.

    Raises:
        ConfigError: A split has no image.
        FoundationXError: Checkpoint, card or data cannot be used.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    check_projector(subject, options.projected)
    subject.need(key, (Split.TRAIN, Split.VAL, Split.TEST))
    splits = {split: embed(subject, key, split, options.projected) for split in Split}
    probe, strength = best_probe(splits[Split.TRAIN], splits[Split.VAL])
    predictions = [
        predictions_of(subject, key, split, splits[split], probe.probabilities(splits[split]))
        for split in (Split.VAL, Split.TEST)
    ]
    notes = [f"features {splits[Split.TRAIN].features.shape[1]}, C = {strength:g}, images: {subject.sizes(key)}"]
    return Result(
        f"linear probe of {request.checkpoint} ({subject.name}) on {key}, test",
        ("metric", "class", "n", "value", "95 % interval"),
        interval_rows(predictions[-1]),
        notes,
        predictions,
    )


def interval_rows(predictions: Predictions, shown: tuple[str, ...] = SHOWN) -> list[tuple[str, ...]]:
    """Metric, class, n, value and percentile interval by patient."""
    return [
        (item.metric, item.class_name, str(item.n), _number(item.value), _interval(item.low, item.high))
        for item in estimate(statistics(predictions), predictions.patient_count)
        if item.metric in shown
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4f} to {high:.4f}"
