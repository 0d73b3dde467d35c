"""Is no label wasted? Datasets that annotate one finding each, in one form, against a model that saw everything.

``python benchmarks/no_label_wasted.py --out build/wasted [--seeds 3]``

Every image of a world may show all findings. Dataset ``labels`` annotates effusions as image labels, ``boxes``
consolidations as boxes, ``masks`` pneumothoraces as masks; nobody else annotates them. The arms, with the same number
of optimizer steps per form:

    one      one model of the three datasets
    filled   the same, and the teacher fills what datasets do not annotate (``filling``)
    full     one dataset of all images with all three annotations: three times as many annotated images per form

Each finding is scored in its form (AUROC, AP40, Dice of the images that have it) on the test patients of the dataset
that annotates it, which no arm has trained on; differences are paired by patient, and with several seeds intervals
cover the spread between them. The aim is 90 % of the full model's score.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from phantom_worlds import Annotated, draw, read_json, train_to_the_end, write

from foundationx.core.config.load import load_config
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.cards.catalog import ENVIRONMENT
from foundationx.evaluation.bootstrap import Estimate, estimate, interval
from foundationx.evaluation.measure import statistics
from foundationx.evaluation.predictions import Predictions, predictions_path, read_predictions
from foundationx.evaluation.seeds import over_runs

FORMS = {"labels": "Effusion", "boxes": "Consolidation", "masks": "Pneumothorax"}
TASKS = {"labels": "classification", "boxes": "detection", "masks": "segmentation"}
METRICS = {"labels": "AUROC", "boxes": "AP40", "masks": "Dice positives"}
ARMS = ("one", "filled", "full")
BASE = ("configs/_base_/swin_nano.py", "configs/_base_/schedule.py", "configs/_base_/views.py")


def write_world(root: Path, images: int, size: int, seed: int) -> None:
    """Writes the three datasets, and one that annotates all of their images in every form."""
    everyone = []
    for number, (form, finding) in enumerate(FORMS.items()):
        first = 1_000_000 * (3 * seed + number + 1)
        drawn = draw(root, first, images, size, dict.fromkeys(FORMS.values(), 0.4))
        write(root, root / "cards", Annotated(form, drawn, {form: [finding]}))
        everyone += drawn
    write(root, root / "cards", Annotated("full", everyone, {form: [name] for form, name in FORMS.items()}))


def configuration(folder: Path, arm: str, size: int, cycles: int, steps: int, seed: int) -> Path:
    """The configuration file of an arm."""
    here = Path(__file__).resolve().parents[1]
    datasets = [{"card": "full"}] if arm == "full" else [{"card": form} for form in FORMS]
    text = f"""_base_ = {[str(here / part) for part in BASE]}
name = {arm!r}
image_size = {size}
datasets = {datasets}
split = dict(train=0.6, val=0.15, test=0.25)
schedule = dict(cycles={cycles}, max_steps={steps}, lock=dict(classification=0.0, detection=0.0, segmentation=0.0),
                release=dict(classification=100.0, detection=100.0, segmentation=100.0))
consistency = dict(weight=0.0)
teacher = dict(update="step", momentum=0.97)
optimizer = dict(lr=1e-3, weight_decay=0.02, clip_norm=1.0, lr_scale=dict(backbone=0.5))
evaluate = dict(every=0, final=["val", "test"], examples=0)
runtime = dict(batch_size=8, workers=0, log_every=50, checkpoint_minutes=None, seed={seed})
"""
    if arm == "filled":
        text += "filling = dict(weight=dict(type='linear', start=0.0, end=0.5), precision=0.8, from_cycle=2)\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{arm}.py"
    path.write_text(text)
    return path


def scored(work: Path, arm: str, form: str, patients: set[str] | None) -> Predictions:
    """Test predictions of a finding in its form; of the patients of its own dataset alone."""
    key = TaskKey.parse(f"{'full' if arm == 'full' else form}/{TASKS[form]}")
    stored = read_predictions(predictions_path(work, key, Split.TEST, "student"))
    if patients is not None:
        stored = stored.take(np.isin(stored.patients, list(patients)))
    return stored.take(np.argsort(stored.images))


def measured(stored: Predictions, form: str) -> Estimate:
    """The finding's metric with its draws."""
    chosen = [statistic for statistic in statistics(stored) if statistic.metric == METRICS[form]]
    return next(e for e in estimate(chosen, stored.patient_count) if e.class_name == FORMS[form])


def share(arm: Sequence[Estimate], full: Sequence[Estimate]) -> str:
    """An arm's share of the full model's score with its interval."""
    one, two = over_runs(arm, (0, 1)), over_runs(full, (0, 2))
    if not one.value or not two.value:
        return "-"
    ends = interval(np.divide(one.draws, two.draws, out=np.full_like(one.draws, np.nan), where=two.draws > 0))
    text = f"{one.value / two.value:.0%}"
    return text if ends is None else f"{text} [{ends[0]:.0%}, {ends[1]:.0%}]"


def main() -> None:
    """Trains the arms and prints each finding's score in each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/wasted"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=240, help="images of each dataset")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps per form and cycle")
    options = parser.parse_args()
    found: dict[tuple[str, str], list[Estimate]] = {}
    for seed in range(options.seeds):
        root = options.out.resolve() / f"seed{seed}"
        os.environ[ENVIRONMENT] = str(root / "cards")
        if not (root / "cards" / "full.yaml").exists():
            write_world(root, options.images, options.size, seed)
        for arm in ARMS:
            work, start = root / arm, time.process_time()
            if not (work / "predictions").exists():
                path = configuration(root / "configs", arm, options.size, options.cycles, options.steps, seed)
                train_to_the_end(load_config(path), root, work)
            for form in FORMS:
                own = set(scored(root / "one", "one", form, None).patients)
                found.setdefault((arm, form), []).append(measured(scored(work, arm, form, own), form))
            values = ", ".join(f"{METRICS[form]} {found[arm, form][-1].value or 0:.3f}" for form in FORMS)
            print(f"seed {seed}, {arm}: {values}, {time.process_time() - start:.0f} CPU s", flush=True)
            if arm == "filled":
                print(f"  filled: {counts(work)}", flush=True)
    print(f"\n{options.seeds} seeds, 3 x {options.images} images of {options.size} pixels, {options.cycles} cycles")
    print("| finding, form, metric | " + " | ".join(ARMS) + " | one / full | filled / full |")
    print("|---|" + "---|" * (len(ARMS) + 2))
    for form, finding in FORMS.items():
        cells = [f"{over_runs(found[arm, form], (0, 0)).value or 0:.3f}" for arm in ARMS]
        cells += [share(found[arm, form], found["full", form]) for arm in ("one", "filled")]
        print(f"| {finding}, {form}, {METRICS[form]} | " + " | ".join(cells) + " |")


def counts(work: Path) -> str:
    """How often each head answered for the images of others."""
    path = work / "filled.json"
    rows = read_json(path)["rows"] if path.exists() else []
    texts = [f"{r['head']} on {r['dataset']} +{r['present']} -{r['absent']} ?{r['unknown']}" for r in rows]
    return "; ".join(texts) or "nothing"


if __name__ == "__main__":
    main()
