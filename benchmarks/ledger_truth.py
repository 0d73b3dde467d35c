"""Does the harm ledger name the heads that joint training harmed, and only them? Worlds whose truth is known.

``python benchmarks/ledger_truth.py [--worlds 200]``

A world is three datasets of two hospitals. An image is a vector: eight numbers that carry the finding, and one that
shows a marker of the site. In half of the worlds the marker is a shortcut: in one or two datasets it goes with the
finding, in the others it does not. In the other half it never does. Logistic regressions are really trained: one on all
three datasets (joint, one head for all), and one on each (alone). What joint training truly did to a head is their
difference in AUROC on 50,000 fresh images, which the ledger never sees: it gets the predictions on a test set of
ordinary size.

The worlds are vectors, not radiographs, because 200 worlds of trained networks take days; what is examined is the
ledger, whose input are predictions either way. ``site_shortcut.py`` trains networks on phantom radiographs.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.ledger.judge import HeadRuns, Verdict, judge
from foundationx.evaluation.predictions import Predictions

SIGNAL = 8
"""Numbers of an image that carry the finding."""

HARMED, UNHARMED = -0.02, -0.002
"""True differences of AUROC below the first are harm, above the second none. What lies between counts as neither."""

NAMES = ("one", "two", "three")


@dataclass
class World:
    """One world.

    Attributes:
        seed: Of everything in it.
        carriers: In how many datasets, the first ones, the marker goes with the finding.
        strength: How well the finding shows, by dataset.
        brightness: How clearly the marker shows.
    """

    seed: int
    carriers: int
    strength: np.ndarray
    brightness: float

    @classmethod
    def draw(cls, seed: int) -> World:
        """World ``seed``; every second one has a shortcut."""
        random = np.random.default_rng((7, seed))
        return cls(seed, (0, 1, 0, 2)[seed % 4], random.uniform(0.9, 1.5, len(NAMES)), random.uniform(2.0, 4.0))

    def images(self, dataset: int, count: int, stream: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (count, D), labels and hospitals (count,) of fresh patients."""
        random = np.random.default_rng((11, self.seed, dataset, stream))
        labels = random.random(count) < 0.4
        hospitals = random.integers(2, size=count)
        goes_along = dataset < self.carriers
        marked = random.random(count) < (np.where(labels, 0.9, 0.1) if goes_along else 0.5)
        direction = np.ones(SIGNAL) / np.sqrt(SIGNAL) * self.strength[dataset]
        signal = random.normal(size=(count, SIGNAL)) + np.outer(labels, direction) + 0.2 * hospitals[:, None]
        marker = self.brightness * marked + random.normal(size=count) * 0.5
        return np.column_stack([signal, marker]), labels, hospitals


def predictions(name: str, truth: np.ndarray, scores: np.ndarray) -> Predictions:
    """Scores in the form that evaluation stores."""
    names = np.array([f"{index:06d}.png" for index in range(len(truth))])
    return Predictions(
        TaskKey(name, Task.CLASSIFICATION),
        "teacher",
        Split.TEST,
        1,
        ("finding",),
        names,
        np.array([f"p{index:06d}" for index in range(len(truth))]),
        truth[:, None].astype(np.float32),
        {"probabilities": scores[:, None].astype(np.float32)},
    )


def run_world(world: World, train: int, test: int, repeats: int) -> list[tuple[float, Verdict]]:
    """True difference of AUROC and verdict of each head."""
    sets = [world.images(dataset, train, 0) for dataset in range(len(NAMES))]
    joint = _fitted(np.concatenate([images for images, _, _ in sets]), np.concatenate([y for _, y, _ in sets]))
    heads, truths = [], []
    for dataset, name in enumerate(NAMES):
        alone = _fitted(sets[dataset][0], sets[dataset][1])
        images, labels, hospitals = world.images(dataset, test, 1)
        runs = [predictions(name, labels, model.predict_proba(images)[:, 1]) for model in (joint, alone)]
        groups = {"hospital": np.where(hospitals == 1, "north", "south")}
        heads.append(HeadRuns(runs[0].key, (runs[0],), (runs[1],), groups))
        fresh, truth, _ = world.images(dataset, 50_000, 2)
        truths.append(np.subtract(*(roc_auc_score(truth, model.decision_function(fresh)) for model in (joint, alone))))
    verdicts = judge(heads, repeats=repeats).verdicts()
    return [(float(truth), verdicts[head.key]) for truth, head in zip(truths, heads, strict=True)]


def _fitted(images: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(images, labels)


def report(results: list[tuple[float, Verdict]]) -> str:
    """Shares of harmed and unharmed heads that are named, and the share by size of the harm."""
    effects = np.array([effect for effect, _ in results])
    named = np.array([verdict is Verdict.HARMED for _, verdict in results])
    harmed, unharmed = effects < HARMED, effects > UNHARMED
    lines = [
        f"harmed heads (true difference below {HARMED:g}): named {named[harmed].sum()} of {harmed.sum()} "
        f"= {named[harmed].mean():.1%}",
        f"unharmed heads (above {UNHARMED:g}): named {named[unharmed].sum()} of {unharmed.sum()} "
        f"= {named[unharmed].mean():.1%}",
    ]
    limits = [-1.0, -0.10, -0.05, -0.03, -0.02, -0.01, UNHARMED, 1.0]
    for low, high in itertools.pairwise(limits):
        inside = (effects >= low) & (effects < high)
        if inside.any():
            text = f"true difference {low:+.3f} to {high:+.3f}: {inside.sum()} heads, named {named[inside].mean():.1%}"
            lines.append(text)
    return "\n".join(lines)


def main() -> None:
    """Runs the worlds and prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--train", type=int, default=600, help="training images of each dataset")
    parser.add_argument("--test", type=int, default=2000, help="test images of each dataset, one per patient")
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    start = time.process_time()
    results = []
    for seed in range(options.worlds):
        results += run_world(World.draw(seed), options.train, options.test, options.repeats)
    print(f"{options.worlds} worlds, {options.train} training and {options.test} test images per dataset")
    print(report(results))
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
