"""Bootstrap intervals of AUROC by patient: weighted ranks against scikit-learn in a loop.

Both judge the same draws of the same scores and must agree to ten digits before they are timed. The loop copies the
images of the patients that were drawn and calls ``roc_auc_score`` for each class; it is timed over a few draws and its
time for all of them is extrapolated in proportion, which the printed table says. The sizes are those of the NIH
ChestX-ray14 test list: 25,596 images of 2,797 patients, 14 findings. Prints a markdown table.

    python benchmarks/bench_bootstrap.py [--repeats 1000] [--loop-repeats 10]
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.bootstrap import estimate, resamples
from foundationx.evaluation.metrics.auroc import statistics
from foundationx.evaluation.predictions import Predictions

IMAGES, PATIENTS, CLASSES, SEED = 25_596, 2_797, 14, 0


def draw() -> Predictions:
    """Labels of 1 to 15 % prevalence and scores that rank them fairly."""
    rng = np.random.default_rng(SEED)
    prevalence = np.linspace(0.01, 0.15, CLASSES)
    labels = (rng.random((IMAGES, CLASSES)) < prevalence).astype(np.float32)
    scores = 1 / (1 + np.exp(-(rng.normal(size=labels.shape) + 1.2 * labels)))
    owners = np.concatenate([np.arange(PATIENTS), rng.integers(PATIENTS, size=IMAGES - PATIENTS)])
    return Predictions(
        TaskKey("generated", Task.CLASSIFICATION),
        "teacher",
        Split.TEST,
        1,
        tuple(f"class {k}" for k in range(CLASSES)),
        np.array([f"{image}.png" for image in range(IMAGES)]),
        np.array([f"{owner:05d}" for owner in owners]),
        labels,
        {"probabilities": scores.astype(np.float32)},
    )


def loop(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    """AUROC (K, R) of each draw by scikit-learn."""
    units = predictions.units
    rows = []
    for column in weights.T.astype(int):
        drawn = np.repeat(np.arange(len(units)), column[units])
        labels, scores = predictions.labels[drawn], predictions.array("probabilities")[drawn]
        rows.append([roc_auc_score(labels[:, k], scores[:, k]) for k in range(CLASSES)])
    return np.array(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--loop-repeats", type=int, default=10)
    options = parser.parse_args()
    predictions = draw()
    weights = next(resamples(PATIENTS, options.loop_repeats, SEED))

    start = time.perf_counter()
    slow = loop(predictions, weights)
    of_loop = (time.perf_counter() - start) / weights.shape[1] * options.repeats

    start = time.perf_counter()
    chosen = [statistic for statistic in statistics(predictions) if statistic.metric == "AUROC"]
    result = estimate(chosen, PATIENTS, options.repeats, SEED)
    ours = time.perf_counter() - start

    fast = np.array([entry.draws[: weights.shape[1]] for entry in result[:CLASSES]])
    gap = np.abs(fast - slow).max()
    assert gap < 1e-10, f"the two differ by {gap}"
    print(f"{platform.machine()}, numpy {np.__version__}; largest difference of an AUROC in a draw: {gap:.0e}\n")
    print(f"| {options.repeats} draws of {IMAGES:,} images, {PATIENTS:,} patients, {CLASSES} classes | seconds |")
    print("|---|---|")
    print(f"| scikit-learn in a loop, from {weights.shape[1]} draws in proportion | {of_loop:.1f} |")
    print(f"| weighted ranks, all draws, intervals included | {ours:.2f} |")
    print(f"| ratio | {of_loop / ours:.0f} |")


if __name__ == "__main__":
    main()
