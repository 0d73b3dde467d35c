"""What do cycling, a teacher and Lock-Release do? On generated radiographs, minutes on two cores.

    .venv/bin/python benchmarks/experiment_cycling.py --out build/experiment

Four ways to train the same heads with the same number of optimizer steps for each head:

    alone      one model for every head
    cycling    one model, head after head, cycle after cycle; no teacher, nothing locked
    teacher    the same with an EMA teacher and the consistency loss
    locked     the same with Lock-Release: the first third of every visit trains the head alone

The last two are scored as students and as teachers. After every visit its head is scored on test patients, after every
cycle all heads are. Forgetting is the score right after a head's visit minus its score at the end of that cycle, after
the visits of the others. Every seed draws other weights and another order of the images. Writes results.json,
experiment.md and experiment.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.types import Split, Task, TaskKey
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.plan import Phase, build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.statistic import MEAN
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets

matplotlib.use("agg")
import matplotlib.pyplot as plt

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart" / "phantom.py"
TASKS = ("classification", "detection", "segmentation")
UNLOCKED = {"schedule.lock": dict.fromkeys(TASKS, 0.0), "schedule.release": dict.fromkeys(TASKS, 1.0)}
LOCKED = {"schedule.lock": dict.fromkeys(TASKS, 1 / 3), "schedule.release": dict.fromkeys(TASKS, 2 / 3)}
NO_TEACHER = {"consistency.weight": 0.0}
TEACHER = {
    "teacher": {"momentum": {"type": "cosine", "start": 0.5, "end": 0.8}, "update": "phase"},
    "consistency": {"weight": {"type": "cosine", "start": 0.0, "end": 0.3}, "only_if_better": False},
}
ALONE = "alone"
ARMS: dict[str, dict[str, Any]] = {
    ALONE: NO_TEACHER | UNLOCKED,
    "cycling": NO_TEACHER | UNLOCKED,
    "teacher": TEACHER | UNLOCKED,
    "locked": TEACHER | LOCKED,
}
COLOURS = {ALONE: "#6b7787", "cycling": "#c65d21", "teacher": "#0b6e99", "locked": "#3f8f5f"}


@dataclass
class Scores:
    """Scores of one run. ``after_visit`` and ``after_cycle``: head -> one value a cycle; ``steps``: head -> steps."""

    after_visit: dict[str, list[float]] = field(default_factory=dict)
    after_cycle: dict[str, list[float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def forgetting(self, head: str) -> float:
        """Mean over the cycles of the score after the head's visit minus that at the end of the cycle."""
        return float(np.mean(np.subtract(self.after_visit[head], self.after_cycle[head])))


class Examiner(Hook):
    """Scores the visited head after its visit, and every head at the end of a cycle.

    The last head of a cycle is scored once: nothing comes between.
    """

    def __init__(self, data_module: DataModule, models: dict[str, FoundationModel]):
        self.data_module, self.models = data_module, models
        self.scores = {name: Scores() for name in models}

    def on_step(self, phase: Phase, step: int) -> None:
        """Counts."""
        for scores in self.scores.values():
            scores.steps[str(phase.key)] = scores.steps.get(str(phase.key), 0) + 1

    def on_visit_end(self, phase: Phase) -> None:
        """The visited head."""
        self._examine("after_visit", {phase.key})

    def on_cycle_end(self, phase: Phase) -> None:
        """All heads."""
        last = str(phase.key)
        self._examine("after_cycle", set(self.data_module.annotations) - {phase.key})
        for scores in self.scores.values():
            scores.after_cycle.setdefault(last, []).append(scores.after_visit[last][-1])

    def _examine(self, when: str, keys: set[TaskKey]) -> None:
        data_module = replace(
            self.data_module, annotations={k: v for k, v in self.data_module.annotations.items() if k in keys}
        )
        rows = evaluate(data_module, self.models, Split.TEST, 1).rows
        for row in rows:
            if row.class_name == MEAN and row.metric == Task(row.task).facts.headline:
                into = getattr(self.scores[row.model], when)
                into.setdefault(f"{row.dataset}/{row.task}", []).append(row.value or 0.0)


def config_of(arm: str, seed: int, options: argparse.Namespace) -> RunConfig:
    """The quickstart's configuration, made small, with the arm's changes."""
    changes = {
        "image_size": options.size,
        "schedule.cycles": options.cycles,
        "schedule.turns": 1,
        "schedule.lock_until": 1.0,
        "schedule.order": "capped",
        "schedule.cap": options.steps * load_config(CONFIG).runtime.batch_size,  # a pass has so many steps
        "split": {"train": 0.7, "val": 0.05, "test": 0.25},
        "runtime.seed": seed,
        "runtime.workers": 0,
        "runtime.log_every": 10**6,
        "runtime.checkpoint_minutes": None,
        "evaluate.examples": 0,
    }
    return load_config(CONFIG, changes | ARMS[arm])


def train(config: RunConfig, data: Path, folder: Path, arm: str) -> dict[str, Scores]:
    """One run: the student's scores, and the teacher's where the arm has one."""
    data_module = open_datasets(config, data)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    trainer = Trainer(config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder)
    taught = "consistency.weight" not in ARMS[arm]
    models = {f"{arm}, student": model, f"{arm}, teacher": trainer.teacher.model} if taught else {arm: model}
    examiner = Examiner(data_module, models)
    trainer.hooks.append(examiner)
    trainer.train()
    return examiner.scores


def run_arm(arm: str, seed: int, options: argparse.Namespace, data: Path) -> dict[str, Scores]:
    """One arm with one seed, on one core: one run, or one for every head."""
    torch.set_num_threads(1)
    config, folder = config_of(arm, seed, options), data.parent / f"{arm}_{seed}"
    if arm != ALONE:
        return train(config, data, folder, arm)
    together = Scores()
    for dataset in config.datasets:
        own = config.model_copy(update={"datasets": (dataset,)})
        result = train(own, data, folder / dataset.card, arm)[ALONE]
        for name, values in vars(result).items():
            getattr(together, name).update(values)
    return {ALONE: together}


def heads_of(results: dict[str, list[Scores]]) -> list[str]:
    """All heads, in the order of a cycle."""
    return list(next(iter(results.values()))[0].steps)


def spread(values: list[float]) -> str:
    """Mean and standard deviation (over seeds, n - 1) in percent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1) if len(values) > 1 else 0:.1f}"


def tables(results: dict[str, list[Scores]]) -> str:
    """Markdown: final scores and forgetting, in percent."""
    heads = heads_of(results)
    names = [f"{head} ({TaskKey.parse(head).task.facts.headline})" for head in heads]
    lines = ["| final score | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    for arm, runs in results.items():
        lines.append(f"| {arm} | " + " | ".join(spread([run.after_cycle[h][-1] for run in runs]) for h in heads) + " |")
    heads, names = heads[:-1], names[:-1]  # nothing comes between the last head's visit and the cycle's end
    lines += ["", "| forgetting | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    for arm, runs in results.items():
        if arm != ALONE:
            lines.append(f"| {arm} | " + " | ".join(spread([run.forgetting(h) for run in runs]) for h in heads) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, list[Scores]], path: Path) -> None:
    """Above: scores after each visit and at each cycle's end. Below: forgetting. One column a head."""
    heads = heads_of(results)
    figure, axes = plt.subplots(2, len(heads), figsize=(4 * len(heads), 6), squeeze=False)
    for column, head in enumerate(heads):
        above, below, is_last = axes[0, column], axes[1, column], head == heads_of(results)[-1]
        for place, (arm, runs) in enumerate(results.items()):
            visits = 100 * np.array([run.after_visit[head] for run in runs])
            ends = 100 * np.array([run.after_cycle[head] for run in runs])
            cycles = np.arange(1, ends.shape[1] + 1)
            colour, dashed = COLOURS[arm.split(",")[0]], "--" if arm.endswith("student") else "-"
            above.plot(cycles, ends.mean(axis=0), dashed, color=colour, marker="o", markersize=3, label=arm)
            above.fill_between(cycles, ends.min(axis=0), ends.max(axis=0), color=colour, alpha=0.1, linewidth=0)
            if arm != ALONE and not is_last:
                lost = (visits - ends).mean(axis=1)
                below.bar(place, lost.mean(), color=colour, alpha=0.35 if dashed == "--" else 0.7)
                below.plot([place] * len(lost), lost, "o", color=colour, markersize=4)
        above.set_title(head, fontsize=10)
        above.set(xlabel="cycle", xticks=cycles, ylabel=f"{TaskKey.parse(head).task.facts.headline} (%)")
        if is_last:  # no other head comes between its visit and the cycle's end
            below.axis("off")
            below.legend(*above.get_legend_handles_labels(), loc="center", frameon=False)
            continue
        below.axhline(0, color="grey", linewidth=0.8)
        below.set_xticks(range(1, len(results)), [name.replace(", ", "\n") for name in list(results)[1:]], fontsize=8)
        below.set_ylabel("forgetting (points)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def write(results: dict[str, list[Scores]], options: argparse.Namespace, seconds: float) -> None:
    """The three files."""
    options.out.mkdir(parents=True, exist_ok=True)
    plain = {arm: [vars(run) for run in runs] for arm, runs in results.items()}
    facts = {"cycles": options.cycles, "seconds": round(seconds), "runs": plain}
    (options.out / "results.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    present(options.out)


def present(folder: Path) -> None:
    """Tables and picture of ``results.json``."""
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    results = {arm: [Scores(**run) for run in runs] for arm, runs in stored["runs"].items()}
    steps = next(iter(results.values()))[0].steps
    seeds, minutes = len(next(iter(results.values()))), stored["seconds"] / 60
    facts = f"{seeds} seeds, {stored['cycles']} cycles, {minutes:.0f} minutes; steps: "
    facts += ", ".join(f"{head} {count}" for head, count in steps.items())
    (folder / "experiment.md").write_text(f"{tables(results)}\n{facts}\n", encoding="utf-8")
    draw(results, folder / "experiment.png")
    print((folder / "experiment.md").read_text(encoding="utf-8"))


def main() -> None:
    """Reads the options, runs and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of every visit")
    parser.add_argument("--images", type=int, default=400, help="images in each dataset")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--size", type=int, default=96, help="of an image in pixels")
    parser.add_argument("--present", action="store_true", help="only tables and picture of the results in --out")
    options = parser.parse_args()
    if options.present:
        present(options.out)
        return
    began = time.perf_counter()
    results: dict[str, list[Scores]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        names = [dataset.card for dataset in load_config(CONFIG).datasets]
        write_phantom_datasets(data, dict.fromkeys(names, options.images), size=options.size)
        jobs = [(arm, seed) for seed in range(options.seeds) for arm in options.arms]
        with get_context("spawn").Pool(options.processes) as pool:
            waiting = [(job, pool.apply_async(run_arm, (*job, options, data))) for job in jobs]
            for (arm, seed), result in waiting:
                for name, scores in result.get().items():
                    results.setdefault(name, []).append(scores)
                print(f"{time.perf_counter() - began:.0f} s: {arm}, seed {seed}", flush=True)
    assert len({json.dumps(run.steps, sort_keys=True) for runs in results.values() for run in runs}) == 1, (
        "steps of the heads differ"
    )
    write(results, options, time.perf_counter() - began)


if __name__ == "__main__":
    main()
