"""What a thumbnail says of the labels of the nine real heads: what a network should find, too.

    .venv/bin/python benchmarks/label_thumbnails.py --data ../shared/data

A logistic regression for each class on the first 20 principal components of 16 x 16 pixels, on the folds of patients of
``joint_against_alone.py``. Classes without a known image of both kinds on either side of a fold are left out there.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from joint_against_alone import CONFIGS, FOLDERS, ROOT, fold_of
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foundationx.core.config.load import load_config
from foundationx.core.types import Annotations, Task
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.catalog import ENVIRONMENT

SIDE, COMPONENTS, STRENGTH = 16, 20, 0.1


def thumbnails(data_module: DataModule, table: Annotations) -> np.ndarray:
    """(N, 256) grey levels of a table's images."""
    dataset = CardDataset(table, data_module.roots[table.key.dataset], ViewPipeline(SIDE))
    return np.stack([dataset.sample(index, 0).image.ravel() / 255.0 for index in range(len(table))])


def scored(images: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> float | None:
    """AUROC of one class on the held-out images; None if a side lacks a kind of label."""
    sides = [~np.isnan(labels) & side for side in (~held_out, held_out)]
    if any(len(np.unique(labels[side])) < 2 for side in sides):
        return None
    train, test = sides
    model = make_pipeline(
        StandardScaler(),
        PCA(min(COMPONENTS, train.sum() - 1)),
        LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000),
    )
    model.fit(images[train], labels[train])
    return float(roc_auc_score(labels[test], model.decision_function(images[test])))


def main() -> None:
    """Prints a line for each fold of each set with labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault(ENVIRONMENT, str(ROOT / "tests" / "registry"))
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(CONFIGS["multi"], {"runtime.cache": folder})
        data_module = open_datasets(config, options.data / FOLDERS["multi"])
    print("| head | images | fold | AUROC |\n|---|---:|---:|---:|")
    for key, table in data_module.annotations.items():
        if key.task is Task.CLASSIFICATION:
            images = thumbnails(data_module, table)
            folds = np.array([fold_of(patient, options.folds) for patient in table.patients])
            for fold in range(options.folds):
                found = [scored(images, labels, folds == fold) for labels in np.asarray(table.labels, dtype=float).T]
                values = [value for value in found if value is not None]
                print(f"| {key} | {len(table)} | {fold} | {np.mean(values):.3f} |", flush=True)


if __name__ == "__main__":
    main()
