"""Does learning from images alone help when labels are few? On generated radiographs, minutes on two cores.

    .venv/bin/python benchmarks/selfsup_transfer.py --out build/selfsup_transfer

Every objective pretrains the small Swin for the same number of steps on the same unlabelled films. Its teacher's
backbone then starts segmentation of lungs and heart from 3, 6 and 12 films (several seeds: which films, and the new
layers), and is measured frozen by ``foundationx/evaluate/anatomy.py``. Beside them: the same network from random
weights. Patients of pretraining, tuning, testing and measuring are all different ones. Writes
results.json, table.md and dice.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch

from foundationx.config import RunConfig
from foundationx.configfile import load_config
from foundationx.data.device import Normaliser
from foundationx.data.phantom.phantom import make_phantom
from foundationx.data.phantom.write import write_phantom_datasets
from foundationx.data.sources import DataBook, open_datasets
from foundationx.engine.trainer import Trainer
from foundationx.evaluate import anatomy
from foundationx.evaluate.evaluator import evaluate
from foundationx.export.backbone import export_backbone
from foundationx.models.tokens import eye
from foundationx.run.train import build_model, plan_loader
from foundationx.schedule.plan import build_plan
from foundationx.types import Split, Task, TaskKey

matplotlib.use("agg")
import matplotlib.pyplot as plt

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "selfsup"
OBJECTIVES = ("adam", "adam_v2", "peac", "ace", "lamps")
RANDOM = "random weights"
MASKS = TaskKey("phantom_masks", Task.SEGMENTATION)
FIRST_MEASURED_PATIENT = 900_000_000
MEASURED = 8


def trainer_of(config: RunConfig, book: DataBook, folder: Path) -> Trainer:
    """A trainer without evaluation."""
    plan = build_plan(config, book.sizes(Split.TRAIN))
    model = build_model(config, book, "cpu")
    return Trainer(config, model, plan, lambda step: plan_loader(config, book, plan, "cpu", step), folder)


def pretrain(name: str, data: Path, folder: Path, steps: int) -> tuple[Path, Trainer]:
    """The backbone of an objective's teacher, as a file; untrained for ``RANDOM``."""
    source = CONFIGS / f"{'adam' if name == RANDOM else name}_nano.py"
    changes = {
        "schedule.cycles": 1,
        "schedule.release.self_supervision": 1e6,
        "schedule.max_steps": steps,
        "runtime.workers": 0,
        "runtime.checkpoint_minutes": None,
    }
    config = load_config(source, changes)
    trainer = trainer_of(config, open_datasets(config, data), folder)
    if name != RANDOM:
        trainer.train()
    model = trainer.teacher.model
    return export_backbone(model, config, "teacher", folder / "backbone.safetensors"), trainer


def few_shot(data: Path, init: Path, shots: int, seed: int, steps: int, folder: Path) -> float:
    """Mean Dice over lungs and heart on the test films after tuning on ``shots`` films."""
    changes = {
        "datasets": [{"card": MASKS.dataset, "tasks": ["segmentation"]}],
        "model.objective": None,
        "model.init": str(init),
        "schedule.cycles": 1,
        "schedule.lock": {"classification": 1.0, "detection": 1.0},  # not visited
        "schedule.release": {"_delete_": True, "segmentation": 1e6},
        "schedule.max_steps": steps,
        "teacher.update": "visit",
        "consistency.weight": 0.0,
        "optimiser.lr": 1e-3,
        "runtime.batch_size": 4,
        "runtime.eval_batch_size": 16,
        "runtime.workers": 0,
        "runtime.seed": seed,
        "runtime.checkpoint_minutes": None,
    }
    config = load_config(CONFIGS / "peac_nano.py", changes)
    book = open_datasets(config, data)
    films = book.indices[MASKS][Split.TRAIN]
    book.indices[MASKS][Split.TRAIN] = np.sort(np.random.default_rng(seed).permutation(films)[:shots])
    trainer = trainer_of(config, book, folder)
    trainer.train()
    rows = evaluate(book, {"student": trainer.model}, Split.TEST, 1).rows
    return next(row.value for row in rows if (row.metric, row.class_name) == ("Dice", "mean"))


def measure(trainer: Trainer) -> dict[str, float]:
    """Anatomy in the frozen teacher, on films of further patients at 256 pixels."""
    model = trainer.teacher.model.eval()
    key = next(iter(model.classes))
    see = eye(lambda images: model.trunk(images, key), Normaliser(trainer.config.model, "cpu"))
    films = [make_phantom(FIRST_MEASURED_PATIENT + n, 0, 256, findings=()) for n in range(MEASURED)]
    points = [np.array(list(film.landmarks.values()))[:, ::-1] for film in films]  # y before x
    queries = [anatomy.features_at(see, film.image, p, 160) for film, p in zip(films, points, strict=True)]
    names = [n for p in points for n in range(len(p))]
    owners = [n for n, p in enumerate(points) for _ in p]
    errors, places = [], anatomy.grid_of(256, 16)
    for n in range(0, MEASURED, 2):
        keys = anatomy.features_at(see, films[n + 1].image, places, 160)
        errors.append(anatomy.correspondence(queries[n], keys, places, points[n + 1]))
    wholes, quadrants, without = anatomy.parts_of(see, [film.image for film in films], 128)
    own, others = anatomy.composition(wholes, quadrants)
    removed = [anatomy.decomposition(wholes, without[:, q], quadrants[:, q]) for q in range(4)]
    return {
        "locality": anatomy.locality(torch.cat(queries), names, owners),
        "correspondence": float(np.mean(errors)),
        "composition": own - others,
        "decomposition": float(np.mean(removed)),
    }


def run(options: argparse.Namespace, data: Path, work: Path) -> dict[str, dict]:
    """Everything of every start, printed as it comes."""
    results = {}
    for name in (RANDOM, *options.objectives):
        started = time.perf_counter()
        init, trainer = pretrain(name, data, work / name.replace(" ", "_"), options.pretrain_steps)
        found = {"pretrain_seconds": round(time.perf_counter() - started, 1), **measure(trainer)}
        found["dice"] = {
            str(shots): [
                few_shot(data, init, shots, seed, options.tune_steps, work / "tune") for seed in range(options.seeds)
            ]
            for shots in options.shots
        }
        results[name] = found
        print(name, json.dumps(found), flush=True)
    return results


def table(results: dict[str, dict], shots: list[int]) -> str:
    """Markdown: Dice in percent (mean and standard deviation over seeds), then the measures."""
    heads = [f"Dice, {n} films" for n in shots]
    measures = ["locality", "correspondence (px)", "composition", "decomposition", "seconds"]
    lines = ["| start | " + " | ".join(heads + measures) + " |", "|---" * (1 + len(heads) + len(measures)) + "|"]
    for name, found in results.items():
        dice = [
            f"{100 * np.mean(found['dice'][str(n)]):.1f} ± {100 * np.std(found['dice'][str(n)]):.1f}" for n in shots
        ]
        rest = [f"{found[m]:.2f}" for m in ("locality", "correspondence", "composition", "decomposition")]
        lines.append(f"| {name} | " + " | ".join([*dice, *rest, f"{found['pretrain_seconds']:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, dict], shots: list[int], path: Path) -> None:
    """Dice over the number of films, one line a start."""
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, found in results.items():
        values = np.array([found["dice"][str(n)] for n in shots])
        style = {"color": "grey", "linestyle": "--"} if name == RANDOM else {}
        axes.errorbar(shots, values.mean(axis=1), values.std(axis=1), label=name, capsize=3, **style)
    axes.set(xscale="log", xlabel="films with masks", ylabel="Dice on test films", xticks=shots, xticklabels=shots)
    axes.minorticks_off()
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Reads the options, runs and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--films", type=int, default=120, help="in each of the two datasets")
    parser.add_argument("--pretrain-steps", type=int, default=40)
    parser.add_argument("--tune-steps", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_phantom_datasets(data, {"phantom_labels": options.films, "phantom_masks": options.films}, size=256)
        results = run(options, data, Path(folder))
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.out / "table.md").write_text(table(results, options.shots), encoding="utf-8")
    draw(results, options.shots, options.out / "dice.png")
    print(table(results, options.shots))


if __name__ == "__main__":
    main()
