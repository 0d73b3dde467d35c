"""Scores from which on a finding counts: chosen on validation by class, or given by the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundationx.core.errors import ConfigError
from foundationx.core.types import TaskKey
from foundationx.evaluation.stored import written_thresholds
from foundationx.models.foundation_model import FoundationModel

DEFAULT = 0.3
"""Threshold of a class for which validation has chosen none."""


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds of every head that predicts.

    Attributes:
        values: Threshold by head and class, for every class.
        chosen: Classes by head whose threshold was chosen on validation.
        note: Where the thresholds come from, in one line.
    """

    values: Mapping[TaskKey, Mapping[str, float]]
    chosen: Mapping[TaskKey, frozenset[str]]
    note: str


def fixed_points(model: FoundationModel, threshold: float) -> OperatingPoints:
    """One threshold for every class. Raises ConfigError: it is not in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ConfigError("--threshold", f"found {threshold}", "a number from 0 to 1", "choose another threshold")
    values = {key: dict.fromkeys(names, threshold) for key, names in model.classes.items()}
    return OperatingPoints(values, {}, f"threshold {threshold:g} for every class")


def operating_points(model: FoundationModel, which: str, visit: int, source: Path) -> OperatingPoints:
    """Thresholds that were chosen on validation for this state of the model; ``DEFAULT`` for other classes.

    Args:
        model: The model.
        which: Student or teacher.
        visit: Visits that it has been trained for.
        source: Checkpoint, work directory or folder of an import; ``thresholds.json`` of the run is read.
    """
    stored = written_thresholds(run_folder(source), which, visit)
    values, chosen = {}, {}
    for key, names in model.classes.items():
        own = {name: value for name, value in stored.get(key, {}).items() if name in names}
        values[key] = dict.fromkeys(names, DEFAULT) | own
        if own:
            chosen[key] = frozenset(own)
    if not chosen:
        return OperatingPoints(values, chosen, f"threshold {DEFAULT:g} (none was chosen on validation)")
    complete = all(len(chosen.get(key, ())) == len(values[key]) for key in values if key in chosen)
    rest = "" if complete and len(chosen) == len(values) else f"; {DEFAULT:g} for other classes"
    return OperatingPoints(values, chosen, f"thresholds chosen on validation{rest}")


def run_folder(source: Path) -> Path:
    """The work directory of a checkpoint."""
    if source.is_dir():
        return source.parent if source.name == "checkpoints" else source
    return source.parent.parent if source.parent.name == "checkpoints" else source.parent
