"""Does a site marker become a shortcut of joint training, and what removes it? Trained phantom worlds.

``python benchmarks/site_shortcut.py --out build/shortcut [--labels careless]``

Two datasets of phantom radiographs annotate one finding. In ``first`` a third of the images have it, and half of them
carry a marker whatever they show. In ``second`` every image carries the marker and 95 % are labelled positive, in one
of two ways:

    --labels real      95 % really have the finding: the second hospital's patients are sicker
    --labels careless  a third have it, and reports call 95 % positive whatever they show: nothing but the marker can be
                       learned from them

A model of both that reads the marker as the finding ranks the images of ``first`` worse than a model of ``first``
alone. The arms, each with the same number of optimizer steps on ``first``:

    alone       ``first`` alone
    shared      both, one head (``model.shared_head``)
    own heads   both, a head each: the marker is nearly constant inside a head, so that the shortcut should not pay
    balanced    as shared, with ``schedule.balance="labels"``
    reverse     as shared, with site guidance by gradient reversal (``model.objective.type="site"``)
    suppress    as shared, with site guidance by equal means
    shares      as shared, with the shares of datasets taken as given (the head's option ``shares="dataset"``)

``reverse shares``, ``suppress shares`` and ``reverse balanced`` have both.

Each arm is scored by AUROC on the test patients of ``first``; the harm of an arm is its difference from ``alone``. The
harm ledger judges the arms that share the head as well.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from phantom_worlds import Annotated, Drawn, draw, train_to_the_end, write
from sklearn.metrics import roc_auc_score

from foundationx.core.config.load import load_config
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.cards.catalog import ENVIRONMENT, Catalog
from foundationx.evaluation.ledger.judge import judge
from foundationx.evaluation.ledger.read import read_heads, with_groups
from foundationx.evaluation.predictions import Predictions, predictions_path, read_predictions

FINDING, SIZE = "Consolidation", 64
BASE = ("configs/_base_/swin_nano.py", "configs/_base_/schedule.py", "configs/_base_/views.py")
HEAD = TaskKey.parse("first/classification")
SITE = {"type": "site", "size": SIZE, "hidden": 64}
ARMS = (
    "alone",
    "shared",
    "own heads",
    "balanced",
    "reverse",
    "suppress",
    "shares",
    "reverse shares",
    "suppress shares",
    "reverse balanced",
)
PARTS: dict[str, dict[str, Any]] = {
    "balanced": {"schedule.balance": "labels"},
    "reverse": {"model.objective": SITE | {"method": "reverse"}, "schedule.release.self_supervision": 1.0},
    "suppress": {"model.objective": SITE | {"method": "suppress"}, "schedule.release.self_supervision": 1.0},
}
"""What a word of an arm's name changes; ``shares`` is an option of the head."""

HEADS: dict[str, dict[str, Any]] = {
    "linear": {"type": "classification", "options": {}},
    "glori": {"type": "glori", "options": {"width": 64}},
}


def called_positive(image: Drawn, share: float = 0.95) -> Drawn:
    """The image with a label that does not depend on what it shows, positive in so many cases."""
    positive = np.random.default_rng([image.phantom.patient, 78]).random() < share
    return replace(image, phantom=replace(image.phantom, findings=(FINDING,) if positive else ()))


def write_world(root: Path, images: int, seed: int, labels: str) -> None:
    """Writes both datasets and their cards."""
    first = draw(
        root, 1_000_000 * (2 * seed + 1), images, SIZE, {FINDING: 0.35},
        site=lambda random, findings: "marked" if random.random() < 0.5 else "plain", marked=("marked",),
    )  # fmt: skip
    second = draw(
        root, 1_000_000 * (2 * seed + 2), images, SIZE, {FINDING: 0.95 if labels == "real" else 0.35},
        site=lambda random, findings: "marked", marked=("marked",),
    )  # fmt: skip
    if labels == "careless":
        second = [called_positive(image) for image in second]
    for name, drawn in (("first", first), ("second", second)):
        write(root, root / "cards", Annotated(name, drawn, {"labels": [FINDING]}, with_sites=True))


def changes_of(arm: str, head: str) -> dict[str, Any]:
    """What an arm changes of the configuration."""
    words = arm.split()
    own = HEADS[head]["options"] | ({"shares": "dataset"} if "shares" in words else {})
    changes: dict[str, Any] = {
        "model.shared_head": arm != "own heads",
        "model.heads": {"classification": HEADS[head] | {"options": own}},
    }
    for word in words:
        changes |= PARTS.get(word, {})
    return changes


def configuration(folder: Path, arm: str, cycles: int, seed: int) -> Path:
    """The configuration file of an arm, whose changes come on top."""
    here = Path(__file__).resolve().parents[1]
    guided = any("model.objective" in PARTS.get(word, {}) for word in arm.split())
    tasks = ["classification", "self_supervision"] if guided else ["classification"]
    datasets = [{"card": card, "tasks": tasks} for card in (["first"] if arm == "alone" else ["first", "second"])]
    text = f"""_base_ = {[str(here / part) for part in BASE]}
name = {arm.replace(" ", "_")!r}
image_size = {SIZE}
datasets = {datasets}
split = dict(train=0.5, val=0.1, test=0.4)
schedule = dict(cycles={cycles})
consistency = dict(weight=0.0)
teacher = dict(update="step", momentum=0.95)
optimizer = dict(lr=1e-3, weight_decay=0.02, lr_scale=dict(backbone=0.5))
evaluate = dict(every=0, final=["val", "test"], examples=0)
runtime = dict(batch_size=16, workers=0, log_every=50, checkpoint_minutes=None, seed={seed})
"""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{arm.replace(' ', '_')}.py"
    path.write_text(text)
    return path


def run(root: Path, arm: str, head: str, cycles: int, seed: int) -> Path:
    """Trains an arm, unless it was; returns its work directory."""
    work = root / arm.replace(" ", "_")
    if not predictions_path(work, HEAD, Split.TEST, "teacher").exists():
        path = configuration(root / "configs", arm, cycles, seed)
        train_to_the_end(load_config(path, changes_of(arm, head)), root, work)
    return work


def score(work: Path, model: str = "student") -> float:
    """AUROC on the test patients of the first dataset."""
    stored: Predictions = read_predictions(predictions_path(work, HEAD, Split.TEST, model))
    truth = stored.labels[:, list(stored.classes).index(_class(stored))] >= 0.5
    probability = stored.array("probabilities")[:, list(stored.classes).index(_class(stored))]
    return float(roc_auc_score(truth, probability))


def _class(stored: Predictions) -> str:
    return next(name for name in stored.classes if name in (FINDING, FINDING.lower()))


def main() -> None:
    """Trains all arms and prints scores and harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/shortcut"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400, help="images of each dataset")
    parser.add_argument("--cycles", type=int, default=16)
    parser.add_argument("--labels", choices=("real", "careless"), default="careless", help="of the second dataset")
    parser.add_argument("--head", choices=tuple(HEADS), default="linear", help="glori: finds a small finding sooner")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options = parser.parse_args()
    found: dict[str, list[float]] = {arm: [] for arm in options.arms}
    for seed in range(options.seeds):
        root = options.out.resolve() / f"seed{seed}"
        os.environ[ENVIRONMENT] = str(root / "cards")
        if not (root / "cards" / "second.yaml").exists():
            write_world(root, options.images, seed, options.labels)
        for arm in options.arms:
            start = time.process_time()
            found[arm].append(score(run(root, arm, options.head, options.cycles, seed)))
            print(
                f"seed {seed}, {arm}: AUROC {found[arm][-1]:.3f}, {time.process_time() - start:.0f} CPU s", flush=True
            )
            if arm not in ("alone", "own heads") and "alone" in found:
                print(f"  {verdict(root, arm)}", flush=True)
    facts = f"{options.labels} labels, {options.head} heads, {options.cycles} cycles"
    print(f"\n{options.seeds} worlds of 2 x {options.images} images of {SIZE} pixels, {facts}")
    print("| arm | AUROC on `first` | minus alone | harm removed |\n|---|---|---|---|")
    alone = np.array(found.get("alone", [np.nan] * options.seeds))
    harm = np.mean(np.array(found["shared"]) - alone) if "shared" in found else np.nan
    for arm, values in found.items():
        difference = np.array(values) - alone
        removed = "-" if arm in ("alone", "shared") else f"{1 - difference.mean() / harm:.0%}"
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        print(f"| {arm} | {np.mean(values):.3f}{spread} | {difference.mean():+.3f} | {removed} |")


def verdict(root: Path, arm: str) -> str:
    """What the ledger says of the first dataset's head."""
    heads, _, _ = read_heads([root / arm.replace(" ", "_")], [root / "alone"], Split.TEST, "student")
    heads, _ = with_groups(heads, root, {}, Catalog())
    ledger = judge(heads)
    sites = ", ".join(f"{entry.site} {entry.difference or 0:+.3f}" for entry in ledger.entries)
    return f"ledger: {', '.join(v.value for v in ledger.verdicts().values())} ({sites})"


if __name__ == "__main__":
    main()
