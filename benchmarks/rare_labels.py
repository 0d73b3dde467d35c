"""Are rare findings learned from few films? A head begun at their shares, one begun at even odds, and a thumbnail.

    .venv/bin/python benchmarks/rare_labels.py --data ../shared/data

A set with labels of ``tests/configs/cxr_multi.py`` is trained on by itself, with its configuration, for ``--steps``
steps; a fold of patients of ``joint_against_alone.py`` is held out and scored (AUROC, mean over classes). Beside both
starts of the head: a logistic regression for each class on the first 20 principal components of 16 x 16 pixels, which
shows what can be found without a network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import joint_against_alone as joint
import numpy as np
import torch
from selfsup_learning import finish, trainer_of
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from foundationx.apps.run.alone import alone_config
from foundationx.core.types import Split, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.catalog import ENVIRONMENT
from foundationx.evaluation.evaluator import evaluate

STARTS = ("shares", "even odds")
SIDE, COMPONENTS, STRENGTH = 16, 20, 0.1


def opened(options: argparse.Namespace, fold: int, seed: int) -> tuple[DataModule, TaskKey]:
    """The set with a fold held out."""
    unit = joint.Unit("multi", fold, seed, "alone")
    data_module = joint.opened(joint.config_of(unit, options), unit, options)
    key = TaskKey(options.card, Task.CLASSIFICATION)
    return joint.of_head(data_module, key), key


def trained(options: argparse.Namespace, fold: int, seed: int, steps: int, start: str) -> float:
    """AUROC of the student on the held-out fold."""
    data_module, key = opened(options, fold, seed)
    config = alone_config(data_module.config, key, steps, data_module.config.split)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(config, data_module, Path(folder))
        if start == "even odds":
            classifier = trainer.model.head(key).classifier
            assert isinstance(classifier, nn.Linear)
            nn.init.zeros_(classifier.bias)
        finish(trainer)
    rows = evaluate(data_module, {"student": trainer.model}, Split.TEST, trainer.plan.total_visits).rows
    return joint.headlines(rows)[str(key)]


def thumbnail(options: argparse.Namespace, fold: int) -> float:
    """AUROC of logistic regressions on thumbnails, mean over the classes with labels of both kinds on both sides."""
    data_module, key = opened(options, fold, 0)
    table = data_module.annotations[key]
    dataset = CardDataset(table, data_module.roots[key.dataset], ViewPipeline(SIDE))
    images = np.stack([dataset.sample(index, 0).image.ravel() / 255.0 for index in range(len(table))])
    values = []
    for labels in np.asarray(table.labels, dtype=float).T:
        sides = data_module.indices[key]
        train, test = (side[~np.isnan(labels[side])] for side in (sides[Split.TRAIN], sides[Split.TEST]))
        if len(np.unique(labels[train])) == len(np.unique(labels[test])) == 2:
            regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
            model = make_pipeline(StandardScaler(), PCA(min(COMPONENTS, len(train) - 1)), regression)
            model.fit(images[train], labels[train])
            values.append(roc_auc_score(labels[test], model.decision_function(images[test])))
    return float(np.mean(values))


def main() -> None:
    """Prints a line for each fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--card", default="multi_nih_labels")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 600])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--score", type=int, nargs="+", default=[0, 1, 2], help="folds")
    parser.set_defaults(folds=3, val=0.0, cycles=None)
    options = parser.parse_args()
    os.environ.setdefault(ENVIRONMENT, str(joint.ROOT / "tests" / "registry"))
    torch.set_num_threads(1)
    columns = [(steps, start) for steps in options.steps for start in STARTS]
    print(f"| fold | {' | '.join(f'{steps} steps, {start}' for steps, start in columns)} | thumbnail |")
    print("|---|" + "---:|" * (len(columns) + 1))
    with tempfile.TemporaryDirectory() as cache:
        options.out = Path(cache)
        for fold in options.score:
            cells = []
            for steps, start in columns:
                found = [trained(options, fold, seed, steps, start) for seed in range(options.seeds)]
                cells.append(f"{np.mean(found):.3f} ± {np.std(found, ddof=min(1, len(found) - 1)):.3f}")
            print(f"| {fold} | {' | '.join(cells)} | {thumbnail(options, fold):.3f} |", flush=True)


if __name__ == "__main__":
    main()
