"""What the report computes of a head's stored predictions: intervals, curves, counts at thresholds, images to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.core.run_files import unread
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.curves import Curve, calibration, froc, precision_recall
from foundationx.evaluation.outcomes import Case, Outcomes, choose_cases, outcomes
from foundationx.evaluation.predictions import Predictions, predictions_path, read_predictions
from foundationx.evaluation.trivial import headline_statistics

DRAWS = 1000
"""Bootstrap draws of an interval, by patient."""


@dataclass(frozen=True)
class Measured:
    """One head of one model on one split.

    Attributes:
        images, patients: Their numbers.
        intervals: Ends of the headline metric's interval by class, the mean over classes among them.
        precision_recall, calibration, froc: Curves by class.
        outcome: What became of every image; None if the task has no such thing.
        cases: Images that are worth a look: name, and why.
        errors: How wrong these images are.
    """

    images: int
    patients: int
    intervals: dict[str, tuple[float, float]]
    precision_recall: dict[str, Curve] = field(default_factory=dict)
    calibration: dict[str, Curve] = field(default_factory=dict)
    froc: dict[str, Curve] = field(default_factory=dict)
    outcome: Outcomes | None = None
    cases: dict[str, list[Case]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


def measure_head(
    folder: Path, key: TaskKey, split: Split, model: str, visit: int, thresholds: Mapping[str, float], pictures: int
) -> Measured | None:
    """Reads and measures the predictions of a head; None if there are none of this visit, or none to be used.

    Args:
        folder: Work directory.
        key: Head.
        split: Split.
        model: Student or teacher.
        visit: Visits trained before the evaluation that the report shows.
        thresholds: Thresholds by class, chosen on validation.
        pictures: Most images to choose.
    """
    path = predictions_path(folder, key, split, model)
    if not path.exists() or unread(path, folder):
        return None
    try:
        stored = read_predictions(path)
    except DataError:
        return None
    if stored.key != key or stored.visit != visit:
        return None
    return measured(replace(stored, thresholds=dict(thresholds)), pictures)


def measured(predictions: Predictions, pictures: int) -> Measured:
    """Measures predictions, which hold their thresholds."""
    headline = predictions.key.task.facts.headline
    wanted = [statistic for statistic in headline_statistics(predictions) if statistic.metric == headline]
    entries = estimate(wanted, predictions.patient_count, DRAWS) if wanted else []
    cases: dict[str, list[Case]] = {}
    outcome = predictions.derive(outcomes)
    for case in choose_cases(predictions, pictures):
        cases.setdefault(str(predictions.images[case.index]), []).append(case)
    chosen = {name: of_image[0].index for name, of_image in cases.items()}
    return Measured(
        images=len(predictions),
        patients=predictions.patient_count,
        intervals={e.class_name: (e.low, e.high) for e in entries if e.low is not None and e.high is not None},
        precision_recall=precision_recall(predictions),
        calibration=calibration(predictions),
        froc=froc(predictions),
        outcome=outcome,
        cases=cases,
        errors={} if outcome is None else {name: float(outcome.errors[index]) for name, index in chosen.items()},
    )
