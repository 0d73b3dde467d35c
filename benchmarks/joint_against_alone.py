"""Does training together pay? A joint run against plain runs of its heads: same patients, steps, seeds and network.

    .venv/bin/python benchmarks/joint_against_alone.py --out build/joint --data ../shared/data --minutes 30

Sets: `real` (three heads on 195 radiographs), `multi` (nine heads on 629), `phantom` (three heads on generated
radiographs). Patients are dealt into folds by hash; a fold is held out and scored, everyone else is trained on. Arms:

    alone     a plain run of every head, with the joint arm's steps of that head
    joint     the configuration as it is: the heads take turns, nothing is locked, no consistency
    teacher   as joint, with a consistency loss of weight 0 to 0.3 for heads whose teacher is better
    locked    as joint, with a third of the steps of detection and segmentation in lock phases
    filled    as joint, and the teacher fills what datasets do not annotate (needs --val)
    guided    as joint, with site guidance by gradient reversal in visits of its own
    doubles   as joint, without suppression of predicted boxes that overlap a better one
    former    the same network and number of steps by the former defaults: one visit a cycle by size of the set, lock
              phases, consistency from 0 to 0.3 for every head, a teacher that moves once a phase

Every run of a set, fold, seed and arm is kept in --out: the same command goes on where it was stopped, for --minutes.
The table pools folds and seeds: difference of an arm from `alone`, mean over folds and seeds, with a 95 % interval of
draws of patients within folds, and the trivial row, which rests on the training patients of each fold. Forgetting is a
head's score right after its last visit in the middle cycle minus its score at the end of that cycle, after the visits
of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch

from foundationx.apps.run.alone import alone_config
from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.config.run import DatasetConfig, RunConfig
from foundationx.core.types import MetricRow, Split, Task, TaskKey, all_tasks
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.filling import Filling
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.need import planned_steps
from foundationx.engine.schedule.plan import Phase, Plan, build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.bootstrap import interval, mean_defined, resamples
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.predictions import Predictions, find_predictions, read_predictions
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.trivial import (
    headline_statistics,
    is_low,
    keep_trivial,
    learn_trivial,
    read_trivial,
    trivial_estimates,
)
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets

matplotlib.use("agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    "real": ROOT / "tests" / "configs" / "covid_cxr.py",
    "multi": ROOT / "tests" / "configs" / "cxr_multi.py",
    "phantom": ROOT / "configs" / "quickstart" / "phantom.py",
}
FOLDERS = {"real": "cxr_real", "multi": "cxr_multi"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "phantom": {
        "schedule.cycles": 12,
        "schedule.floor": 1.0,
        "schedule.release": dict.fromkeys(map(str, all_tasks()), 1.0),
    }
}
"""What brings a set's configuration back to the default schedule: the demo has one of its own."""

WEIGHT = {"type": "cosine", "start": 0.0, "end": 0.3}
LOCKED = {
    "schedule.lock": {"classification": 0.0, "detection": 1 / 3, "segmentation": 1 / 3},
    "schedule.release": {"classification": 1.0, "detection": 2 / 3, "segmentation": 2 / 3},
    "schedule.lock_until": 1.0,
}
CHANGES: dict[str, dict[str, Any]] = {
    "alone": {},
    "joint": {},
    "teacher": {"consistency.weight": WEIGHT},
    "locked": LOCKED,
    "filled": {"filling": {"precision": 0.8}},
    "guided": {"model.objective": {"type": "site", "hidden": 64}, "schedule.release.self_supervision": 1.0},
    "doubles": {"model.detection.suppression": None},
    "former": LOCKED
    | {
        "schedule.floor": 0.0,
        "schedule.turns": 1,
        "teacher.momentum": {"type": "cosine", "start": 0.5, "end": 0.9},
        "teacher.update": "phase",
        "consistency.weight": WEIGHT,
        "consistency.only_if_better": False,
    },
}
ARMS = tuple(CHANGES)
MODELS = ("student", "teacher")
BOUNDS = {"AP40": -0.02, "AP": -0.02}
"""Below what an interval counts as harm, by metric; -0.01 for others."""

BESIDE = {"AP40": ("AP",)}
"""Metrics shown beside a headline: AP40 of whole lungs is at its ceiling."""


class Unit(NamedTuple):
    """One arm of one set, fold and seed."""

    name: str
    fold: int
    seed: int
    arm: str

    def folder(self, out: Path) -> Path:
        """Where its results are kept."""
        return out / self.name / f"fold{self.fold}" / f"seed{self.seed}" / self.arm


def fold_of(patient: str, folds: int) -> int:
    """Fold of a patient, by hash."""
    return int.from_bytes(hashlib.sha256(f"fold {patient}".encode()).digest()[:8], "big") % folds


def config_of(unit: Unit, options: argparse.Namespace) -> RunConfig:
    """The set's configuration, as small as asked for."""
    changes: dict[str, Any] = {
        "image_size": options.size,
        "split": {"train": 0.7, "val": 0.0, "test": 0.3},
        "runtime.seed": unit.seed,
        "runtime.workers": 0,
        "runtime.cache": str(options.out / "cache" / unit.name),
        "runtime.log_every": 10**6,
        "runtime.checkpoint_minutes": None,
        "evaluate.examples": 0,
    }
    if options.cycles:
        changes["schedule.cycles"] = options.cycles
    changes = DEFAULTS.get(unit.name, {}) | changes | CHANGES[unit.arm]
    if unit.arm == "guided":
        changes["model.objective"] = changes["model.objective"] | {"size": options.size}
        changes["datasets"] = [guided(dataset) for dataset in load_config(CONFIGS[unit.name]).datasets]
    return load_config(CONFIGS[unit.name], changes)


def guided(dataset: DatasetConfig) -> dict[str, Any]:
    """A dataset with visits of site guidance beside those of its heads."""
    entry = dataset.model_dump(mode="json", exclude_defaults=True)
    tasks = dataset.tasks or tuple(Catalog().card(dataset.card).tasks)
    return entry | {"tasks": [*tasks, Task.SELF_SUPERVISION]}


def opened(config: RunConfig, unit: Unit, options: argparse.Namespace) -> DataModule:
    """The datasets with one fold held out."""
    data_module = open_datasets(config, data_root(unit.name, options))
    for key, table in data_module.annotations.items():
        fold = np.array([fold_of(patient, options.folds) for patient in table.patients])
        usable = np.concatenate(list(data_module.indices[key].values()))
        held_out = np.intersect1d(np.flatnonzero(fold == unit.fold), usable)
        rest = np.setdiff1d(usable, held_out)
        share = np.array([fold_of(f"val {table.patients[index]}", 1000) / 1000 for index in rest])
        val, train = rest[share < options.val], rest[share >= options.val]
        data_module.indices[key] = {Split.TRAIN: train, Split.VAL: val, Split.TEST: held_out}
    data_module.fill_cache()
    return data_module


def data_root(name: str, options: argparse.Namespace) -> Path:
    """Folder of a set's images; phantoms are generated when they are first needed."""
    if name in FOLDERS:
        return options.data / FOLDERS[name]
    folder: Path = options.out / "phantoms"
    if not folder.exists():
        cards = [dataset.card for dataset in load_config(CONFIGS[name]).datasets]
        write_phantom_datasets(folder, dict.fromkeys(cards, options.images), size=128, processes=1)
    return folder


def of_head(data_module: DataModule, key: TaskKey) -> DataModule:
    """The datasets of one head."""
    indices, caches = {key: data_module.indices[key]}, {k: v for k, v in data_module.caches.items() if k == key}
    return replace(data_module, annotations={key: data_module.annotations[key]}, indices=indices, caches=caches)


def run(unit: Unit, options: argparse.Namespace) -> None:
    """Trains and scores one arm, and keeps predictions, steps and processor time."""
    config = config_of(unit, options)
    data_module = opened(config, unit, options)
    if unit.arm not in ("joint", "former"):
        config = with_steps_of_joint(config, unit, options, data_module)
    steps = steps_of_heads(config, data_module)
    folder = unit.folder(options.out)
    trivial = learn_trivial(data_module)
    lost: dict[str, float] = {}
    seconds = 0.0
    if unit.arm == "alone":
        for key in steps:
            own = alone_config(config, key, steps[key], config.split)
            seconds += train_and_score(own, of_head(data_module, key), folder)[0]
    else:
        seconds, lost = train_and_score(config, data_module, folder)
    keep_trivial(folder, trivial)
    counts = {str(key): count for key, count in steps.items()}
    facts = {"seconds": seconds, "steps": counts, "size": options.size, "forgetting": lost}
    (folder / "done.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def steps_of_heads(config: RunConfig, data_module: DataModule) -> dict[TaskKey, int]:
    """Steps of each annotated head."""
    steps = planned_steps(build_plan(config, data_module.sizes(Split.TRAIN)))
    return {key: count for key, count in steps.items() if key.task.facts.needs_annotations}


def with_steps_of_joint(
    config: RunConfig, unit: Unit, options: argparse.Namespace, data_module: DataModule
) -> RunConfig:
    """An arm's configuration with the steps that the joint arm gives each head."""
    sizes = {key: size for key, size in data_module.sizes(Split.TRAIN).items() if key.task.facts.needs_annotations}
    counts = planned_steps(build_plan(config_of(unit._replace(arm="joint"), options), sizes))
    steps = {str(key): count for key, count in counts.items()}
    return config.model_copy(update={"schedule": config.schedule.model_copy(update={"steps": steps})})


class Forgetting(Hook):
    """Scores each head of the student after its last visit in the middle cycle, and all at that cycle's end.

    At the end of a run nothing is forgotten any more, for rates have fallen to 0.
    """

    def __init__(self, plan: Plan, data_module: DataModule, model: FoundationModel):
        middle = (plan.phases[-1].cycle + 1) // 2
        own = [phase for phase in plan.phases if phase.cycle == middle and phase.key.task.facts.needs_annotations]
        self.last = {phase.key: phase.visit for phase in own}
        self.middle, self.data_module, self.model = middle, data_module, model
        self.after_visit: dict[str, float] = {}
        self.lost: dict[str, float] = {}

    def on_visit_end(self, phase: Phase) -> None:
        """The visited head, if it is not visited again in this cycle."""
        if phase.visit == self.last.get(phase.key):
            self.after_visit |= self._score(of_head(self.data_module, phase.key))

    def on_cycle_end(self, phase: Phase) -> None:
        """All heads, after the visits of the others."""
        if phase.cycle == self.middle:
            for key in self.last:
                final = self._score(of_head(self.data_module, key))
                self.lost |= {head: self.after_visit[head] - value for head, value in final.items()}

    def _score(self, data_module: DataModule) -> dict[str, float]:
        rows = evaluate(data_module, {"student": self.model}, Split.TEST, 1).rows
        self.model.train()
        return headlines(rows)


def headlines(rows: Sequence[MetricRow]) -> dict[str, float]:
    """The student's headline metric of each head, mean over classes."""
    own = [row for row in rows if row.model == "student" and row.class_name == MEAN and row.value is not None]
    chosen = [row for row in own if row.metric == Task(row.task).facts.headline]
    return {f"{row.dataset}/{row.task}": float(row.value or 0.0) for row in chosen}


def train_and_score(config: RunConfig, data_module: DataModule, folder: Path) -> tuple[float, dict[str, float]]:
    """Predictions of the held-out images into the folder; processor seconds of the training, and forgetting."""
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = Trainer(
            config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), Path(checkpoints)
        )
        if config.filling is not None:
            trainer.filling = Filling(config.filling, data_module, model)
        forgetting = Forgetting(plan, data_module, model)
        trainer.hooks.append(forgetting)
        began = time.process_time()
        if not trainer.train():
            raise KeyboardInterrupt
        seconds = time.process_time() - began
    scored = evaluate(data_module, {"student": model, "teacher": trainer.teacher.model}, Split.TEST, plan.total_visits)
    for predictions in scored.predictions:
        predictions.write(folder)
    return seconds, forgetting.lost


def is_done(unit: Unit, out: Path) -> bool:
    """Whether the unit's results are there."""
    return (unit.folder(out) / "done.json").is_file()


def units_of(options: argparse.Namespace) -> Iterator[Unit]:
    """All units, whole seeds first, so that a table can be made at any time."""
    for seed in range(options.seeds):
        for fold in options.score:
            for name in options.sets:
                for arm in options.arms:
                    yield Unit(name, fold, seed, arm)


# ---------------------------------------------------------------- the table


def read_arm(unit: Unit, out: Path) -> dict[tuple[TaskKey, str], Predictions]:
    """Predictions of an arm by head and model."""
    stored = [read_predictions(path) for path in find_predictions(unit.folder(out))]
    return {(entry.key, entry.model): entry for entry in stored}


def draws_of(predictions: Predictions, metric: str, repeats: int) -> np.ndarray:
    """A metric, mean over classes: value, then its draws, (1 + R,); the draws follow the patients alone."""
    statistics = [one for one in headline_statistics(predictions) if one.metric == metric]
    patients = predictions.patient_count
    weights = np.concatenate([np.ones((patients, 1)), *resamples(patients, repeats, seed=0)], axis=1)
    return mean_defined(np.stack([one.of(weights) for one in statistics]))


class Line(NamedTuple):
    """A row of the table: an arm's head against `alone`, pooled over folds and seeds."""

    head: TaskKey
    metric: str
    model: str
    trivial: float
    alone: float
    value: float
    difference: float
    ends: tuple[float, float] | None
    spread: float


def line_of(
    pairs: Sequence[tuple[int, Predictions, Predictions]], trivial: float, name: tuple[TaskKey, str, str], repeats: int
) -> Line:
    """Pools (fold, alone, arm): a fold's draws are the same for all its seeds, those of folds are independent."""
    by_fold: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for fold, one, two in pairs:
        by_fold.setdefault(fold, []).append((draws_of(one, name[1], repeats), draws_of(two, name[1], repeats)))
    differences = [np.mean([two - one for one, two in runs], axis=0) for runs in by_fold.values()]
    random = np.random.default_rng(0)
    shuffled = [np.concatenate([own[:1], random.permutation(own[1:])]) for own in differences]
    pooled = np.mean(shuffled, axis=0)
    values = np.array([[one[0], two[0]] for runs in by_fold.values() for one, two in runs])
    spread = float(np.std(values[:, 1] - values[:, 0], ddof=1)) if len(values) > 1 else float("nan")
    alone, value = values.mean(axis=0)
    return Line(*name, trivial, alone, value, float(pooled[0]), interval(pooled[1:]), spread)


def lines_of(name: str, arm: str, options: argparse.Namespace) -> tuple[list[Line], int]:
    """Rows of an arm of a set, and the number of pairs of runs behind them."""
    pairs: dict[tuple[TaskKey, str, str], list[tuple[int, Predictions, Predictions]]] = {}
    trivial: dict[tuple[TaskKey, str, str], list[float]] = {}
    count = 0
    for seed in range(options.seeds):
        for fold in options.score:
            mine, plain = Unit(name, fold, seed, arm), Unit(name, fold, seed, "alone")
            if not (is_done(mine, options.out) and is_done(plain, options.out)):
                continue
            count += 1
            alone, other = read_arm(plain, options.out), read_arm(mine, options.out)
            known = read_trivial(plain.folder(options.out))
            for (key, model), predictions in other.items():
                values = trivial_estimates(known, predictions)
                headline = key.task.facts.headline
                for metric in (headline, *BESIDE.get(headline, ())):
                    row = (key, metric, model)
                    pairs.setdefault(row, []).append((fold, alone[key, model], predictions))
                    chance = float(key.task.facts.chance or np.nan)
                    trivial.setdefault(row, []).append(values.get((metric, MEAN), chance))
    return [line_of(pairs[row], float(np.nanmean(trivial[row])), row, options.repeats) for row in sorted(pairs)], count


def verdict(line: Line) -> str:
    """What the interval says, and whether the head beats its trivial row."""
    words = []
    if line.ends is not None:
        low, high = line.ends
        bound = BOUNDS.get(line.metric, -0.01)
        words.append("gains" if low > 0 else "loses" if high < 0 else f"above {bound:g}" if low > bound else "open")
    if is_low(line.value, [line.trivial]):
        words.append("**not above trivial**")
    return ", ".join(words)


Found = Mapping[str, tuple[list[Line], int]]
"""Rows of each arm but `alone`, and the number of pairs of runs behind them."""


def summary(name: str, measured: Found, options: argparse.Namespace) -> list[str]:
    """Markdown of all arms of a set: a head's difference from `alone`, and what it forgot."""
    arms = list(measured)
    found = {arm: {(line.head, line.metric, line.model): line for line in measured[arm][0]} for arm in arms}
    keys = list(next(iter(found.values()), {}))
    rows = [
        f"| head | metric | model | trivial | alone | {' | '.join(arms)} |",
        "|---|---|---|" + "---:|" * (len(arms) + 2),
    ]
    for head, metric, model in keys:
        lines = [found[arm].get((head, metric, model)) for arm in arms]
        first = found[arms[0]][head, metric, model]
        cells = ["-" if line is None else f"{line.difference:+.3f}{ends_of(line)}" for line in lines]
        facts = f"{metric} | {model} | {first.trivial:.3f} | {first.alone:.3f}"
        rows.append(f"| {head} | {facts} | {' | '.join(cells)} |")
    for head in dict.fromkeys(head for head, _, _ in keys):
        lost = [forgotten(name, arm, str(head), options) for arm in arms]
        texts = ["-" if not len(one) else f"{np.mean(one):+.3f} ± {np.std(one):.3f}" for one in lost]
        rows.append(f"| {head} | forgotten | student | | | {' | '.join(texts)} |")
    return rows


def forgotten(name: str, arm: str, head: str, options: argparse.Namespace) -> list[float]:
    """What a head lost until the end of the middle cycle, in each run of an arm."""
    done = [unit for unit in units_of(options) if (unit.name, unit.arm) == (name, arm) and is_done(unit, options.out)]
    facts = [json.loads((unit.folder(options.out) / "done.json").read_text(encoding="utf-8")) for unit in done]
    return [entry["forgetting"][head] for entry in facts if head in entry.get("forgetting", {})]


def ends_of(line: Line) -> str:
    """An interval as text."""
    return "" if line.ends is None else f" [{line.ends[0]:+.3f}, {line.ends[1]:+.3f}]"


def table(name: str, measured: Found, options: argparse.Namespace) -> str:
    """Markdown of one set."""
    if len(measured) > 1:
        parts = [f"**{name}**: differences from alone", "", *summary(name, measured, options), "", cost(name, options)]
        return "\n".join([*parts, ""])
    parts = []
    for arm, (rows, count) in measured.items():
        if not rows:
            continue
        parts += [f"**{name}, {arm} against alone**: {count} pairs of runs", ""]
        parts += [
            f"| head | metric | model | trivial | alone | {arm} | {arm} - alone | sd of pairs | |",
            "|---|---|---|---:|---:|---:|---|---:|---|",
        ]
        for line in rows:
            values = f"{line.trivial:.3f} | {line.alone:.3f} | {line.value:.3f} | {line.difference:+.3f}{ends_of(line)}"
            head = f"| {line.head} | {line.metric} | {line.model} "
            parts.append(f"{head}| {values} | {line.spread:.3f} | {verdict(line)} |")
        parts += ["", cost(name, options), ""]
    return "\n".join(parts)


def draw(name: str, measured: Found, out: Path) -> None:
    """Every arm's difference from `alone` with its interval, one panel a head and headline, into ``NAME.png``."""
    arms = list(measured)
    found = {(arm, line.head): line for arm in arms for line in measured[arm][0] if is_shown(line)}
    heads = list(dict.fromkeys(head for _, head in found))
    if not heads:
        return
    size = (3.4 * min(3, len(heads)), 0.9 + 0.32 * len(arms))
    rows = -(-len(heads) // 3)
    figure, axes = plt.subplots(rows, min(3, len(heads)), figsize=(size[0], rows * size[1]), squeeze=False, sharey=True)
    for axis, head in zip(axes.flat, heads, strict=False):
        for place, arm in enumerate(arms):
            line = found.get((arm, head))
            if line is not None and line.ends is not None:
                colour = "#3f8f5f" if line.ends[0] > 0 else "#c6402c" if line.ends[1] < 0 else "#6b7787"
                axis.plot(line.ends, (place, place), color=colour)
                axis.plot(line.difference, place, "o", color=colour, markersize=5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(arms)), arms)
        axis.set_ylim(len(arms) - 0.5, -0.5)
        axis.set_title(f"{head}\n{head.task.facts.headline} minus alone", fontsize=8)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(heads) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(out / f"{name}.png", dpi=120)
    plt.close(figure)


def is_shown(line: Line) -> bool:
    """Whether the picture has it: the student by its headline."""
    return line.model == "student" and line.metric == line.head.task.facts.headline


def cost(name: str, options: argparse.Namespace) -> str:
    """Processor seconds and steps of the arms."""
    texts = []
    for arm in options.arms:
        done = [u for u in units_of(options) if u.name == name and u.arm == arm and is_done(u, options.out)]
        facts: list[Mapping[str, Any]] = [json.loads((u.folder(options.out) / "done.json").read_text()) for u in done]
        if facts:
            steps = ", ".join(f"{head} {count}" for head, count in facts[0]["steps"].items())
            seconds = np.mean([entry["seconds"] for entry in facts])
            texts.append(f"{arm} {len(facts)} runs of {seconds:.0f} processor s at {facts[0]['size']} px ({steps})")
    return "; ".join(texts) + "."


def main() -> None:
    """Runs what is missing for as long as asked for, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real sets")
    parser.add_argument("--sets", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["joint", "alone"])
    parser.add_argument("--val", type=float, default=0.0, help="share of the training patients kept for validation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--score", type=int, nargs="+", help="folds to hold out, from 0 (default: all)")
    parser.add_argument("--size", type=int, default=192, help="of an image in pixels")
    parser.add_argument("--cycles", type=int, help="of the joint run (default: as configured)")
    parser.add_argument("--images", type=int, default=300, help="of each set of phantoms")
    parser.add_argument("--repeats", type=int, default=1000, help="draws of patients")
    parser.add_argument("--minutes", type=float, default=1e6, help="no run is begun after so many")
    parser.add_argument("--present", action="store_true", help="only the tables of what there is")
    options = parser.parse_args()
    options.score = options.score if options.score is not None else list(range(options.folds))
    os.environ.setdefault("FOUNDATIONX_REGISTRY", str(ROOT / "tests" / "registry"))
    torch.set_num_threads(1)
    began = time.monotonic()
    missing = [] if options.present else [unit for unit in units_of(options) if not is_done(unit, options.out)]
    for unit in missing:
        if time.monotonic() - began > 60 * options.minutes:
            break
        run(unit, options)
        print(f"{time.monotonic() - began:.0f} s: {unit}", flush=True)
    tables = []
    for name in options.sets:
        measured = {arm: lines_of(name, arm, options) for arm in options.arms if arm != "alone"}
        draw(name, measured, options.out)
        tables.append(table(name, measured, options))
    text = "\n".join(filter(None, tables))
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
