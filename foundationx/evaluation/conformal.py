"""Conformal prediction sets of image labels: for each class present, absent, both or neither, with a promised coverage.

Split conformal prediction (Vovk et al., 2005), calibrated on validation: among new images like those of validation,
the true label is in the set with probability 1 - alpha at least. Sets are calibrated for each class, and within it
apart for present and absent labels (Mondrian), so that the promise holds for the rare findings, too. It holds for
images like those of validation: coverage by site shows where it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.distribution import install_hint
from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.datasets.attributes import group_of, read_attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.location import dataset_folder
from foundationx.evaluation.predictions import Predictions, find_predictions, read_predictions
from foundationx.evaluation.ranking import POSITIVE

LEAST = 10
"""Present and absent validation images that a class needs."""


@dataclass(frozen=True)
class Sets:
    """Prediction sets of one head.

    Attributes:
        classes: Names of the K classes; those that could not be calibrated have none.
        included: (N, K, 2) bool, whether absent and present are in the set.
        calibrated: (K,) bool.
    """

    classes: tuple[str, ...]
    included: AnyArray
    calibrated: AnyArray


@dataclass(frozen=True)
class Coverage:
    """How often the truth is in the set, and how large sets are.

    Attributes:
        site, class_name: ``all`` or a group of images; name of the class.
        n: Images with a known label.
        coverage: Share of them whose label is in the set.
        present, absent: The same among present and among absent labels; None if there are none.
        unsure, empty: Share of sets with both answers, and with neither.
    """

    site: str
    class_name: str
    n: int
    coverage: float
    present: float | None
    absent: float | None
    unsure: float
    empty: float


def prediction_sets(validation: Predictions, predictions: Predictions, alpha: float) -> Sets:
    """Sets of the images of ``predictions``, calibrated on ``validation``.

    Args:
        validation: Predictions of image labels on validation.
        predictions: Predictions of the same head on other images.
        alpha: Share of labels that may be outside of their set, in (0, 1).

    Raises:
        DataError: The heads differ, or crepes is not installed.
    """
    if validation.classes != predictions.classes or validation.key != predictions.key:
        fix = "evaluate both splits with one model"
        raise DataError(str(predictions.key), "has other classes than its validation predictions", "the same head", fix)
    classifier = _crepes().ConformalClassifier
    scores, own = (run.array("probabilities").astype(np.float64) for run in (predictions, validation))
    number = len(validation.classes)
    included, calibrated = np.zeros((len(scores), number, 2), dtype=bool), np.zeros(number, dtype=bool)
    for k in range(number):
        labels = validation.labels[:, k]
        known = ~np.isnan(labels)
        present = (labels[known] >= POSITIVE).astype(int)
        if min(present.sum(), len(present) - present.sum()) < LEAST:
            continue
        calibrated[k] = True
        p = own[known, k]
        fitted = classifier().fit(np.where(present == 1, 1 - p, p), bins=present)
        for answer, strangeness in ((0, scores[:, k]), (1, 1 - scores[:, k])):
            values = fitted.predict_p(strangeness[:, None], bins=np.full(len(scores), answer), smoothing=False)
            included[:, k, answer] = values[:, 0] > alpha
    return Sets(predictions.classes, included, calibrated)


def coverage_of(sets: Sets, predictions: Predictions, sites: Mapping[str, AnyArray]) -> list[Coverage]:
    """Coverage by site and calibrated class.

    Args:
        sets: Sets of the images of ``predictions``.
        predictions: Give the truth.
        sites: (N,) bool by name of the site.
    """
    rows = []
    for site, mask in sites.items():
        for k in np.flatnonzero(sets.calibrated):
            labels = predictions.labels[:, k]
            counted = mask & ~np.isnan(labels)
            if not counted.any():
                continue
            present = labels[counted] >= POSITIVE
            answers = sets.included[counted, k]
            right = np.where(present, answers[:, 1], answers[:, 0])
            parts = [float(right[chosen].mean()) if chosen.any() else None for chosen in (present, ~present)]
            sizes = answers.sum(axis=1)
            name = sets.classes[k]
            shares = (float((sizes == 2).mean()), float((sizes == 0).mean()))
            rows.append(Coverage(site, name, int(counted.sum()), float(right.mean()), parts[0], parts[1], *shares))
    return rows


def read_pairs(folder: Path, model: str) -> list[tuple[Predictions, Predictions]]:
    """Validation and test predictions of every head of image labels.

    Raises:
        DataError: There is no head with both.
    """
    stored = [read_predictions(path) for path in find_predictions(folder) if path.name.endswith(f".{model}.npz")]
    labels = {(run.key, run.split): run for run in stored if "probabilities" in run.recorded}
    keys = [key for key, split in labels if split is Split.TEST and (key, Split.VAL) in labels]
    if not keys:
        fix = f"foundationx eval {folder} --split val --out {folder}, then --split test"
        raise DataError(str(folder), f"no labels of the {model} on validation and test", "predictions of both", fix)
    return [(labels[key, Split.VAL], labels[key, Split.TEST]) for key in keys]


def sites_of(predictions: Predictions, data_root: Path | None, root: str | None) -> dict[str, AnyArray]:
    """(N,) bool by site: all images, and the groups of every attribute that the card names.

    Args:
        predictions: Name dataset and images.
        data_root: Folder of all datasets; None for no groups.
        root: Folder of the dataset under it, if it is not the card's own.
    """
    sites: dict[str, AnyArray] = {"all": np.ones(len(predictions), dtype=bool)}
    catalog = Catalog()
    if data_root is None or catalog.card(predictions.key.dataset).attributes is None:
        return sites
    card = catalog.card(predictions.key.dataset)
    values = read_attributes(card, dataset_folder(card, data_root, root), predictions.images)
    for name, column in values.items():
        groups = np.array([group_of(name, value) for value in column])
        sites |= {f"{name}: {group}": groups == group for group in sorted(set(groups) - {""})}
    return sites


ANSWERS = {(True, True): "absent or present", (False, True): "present", (True, False): "absent", (False, False): "none"}
"""Sets in words, by whether they hold absent and present."""


def set_rows(sets: Sets, predictions: Predictions) -> list[list[str]]:
    """Head, image, patient, class, probability and set, one row per image and calibrated class."""
    probabilities = predictions.array("probabilities")
    return [
        [
            str(predictions.key),
            str(predictions.images[index]),
            str(predictions.patients[index]),
            sets.classes[k],
            f"{probabilities[index, k]:.6f}",
            ANSWERS[bool(sets.included[index, k, 0]), bool(sets.included[index, k, 1])],
        ]
        for index in range(len(predictions))
        for k in np.flatnonzero(sets.calibrated)
    ]


def _crepes() -> Any:
    """The library. Raises DataError if it is missing."""
    try:
        import crepes
    except ImportError as error:
        found, fix = "needs the package crepes, which is not installed", install_hint("conformal")
        raise DataError("conformal prediction", found, "crepes", fix) from error
    return crepes
