"""Does learning from images alone help when labels are few?

    .venv/bin/python benchmarks/selfsup_transfer.py --out build/selfsup_transfer
    .venv/bin/python benchmarks/selfsup_transfer.py --out build/selfsup_cxr_multi --data-root ../shared/data/cxr_multi

Every objective pretrains the small Swin for the same processor time on the same unlabelled images: generated ones, or
all images of ``tests/configs/cxr_multi.py``. Its teacher's backbone then starts segmentation from 3, 6 and 12
images (several seeds: which images, their order, and the new layers), and is measured frozen by
``foundationx/evaluation/anatomy/``. Beside it: the same network from random weights. Tested are patients of whom no
image was pretrained or tuned on. Writes results.json, table.md and dice.png after every start; what was finished is not
done again when the command is repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from selfsup_learning import OWN, RANDOM, SECONDS_A_STEP, begin, few_shot, measure, pretrain, steps_of
from selfsup_worlds import World, generated_world, real_world

matplotlib.use("agg")
import matplotlib.pyplot as plt

MEASURES = {"locality": "locality", "correspondence": "correspondence (px)", "composition": "composition",
            "decomposition": "decomposition"}  # fmt: skip


class Findings:
    """What has been found, kept in ``results.json``; ``settings`` must be those it was begun with."""

    def __init__(self, folder: Path, settings: dict[str, object]):
        self.path = folder / "results.json"
        self.settings = settings
        self.starts: dict[str, dict] = {}
        if self.path.exists():
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["settings"] != settings:
                raise SystemExit(f"{self.path} was begun with {stored['settings']}: name another --out")
            self.starts = stored["starts"]

    def save(self) -> None:
        """Writes all, whole or not at all."""
        fresh = self.path.with_suffix(".new")
        content = {"settings": self.settings, "starts": self.starts}
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.path)


def run(options: argparse.Namespace, world: World, findings: Findings) -> None:
    """Everything of every start that is not yet there, stored as it comes."""
    for name in (RANDOM, *options.objectives):
        init = options.out / "backbones" / name.replace(" ", "_") / "backbone.safetensors"
        if name not in findings.starts:
            if name == RANDOM:
                begin(world, init)
                findings.starts[name] = {"dice": {}}
            else:
                findings.starts[name] = {"dice": {}, **pretrain(name, world, init, steps_of(name, options.minutes))}
            findings.save()
        if "anatomy" not in findings.starts[name]:
            findings.starts[name]["anatomy"] = measure(world, init)
            findings.save()
            print(name, json.dumps(findings.starts[name]), flush=True)
        tune(name, init, options, world, findings)
        write(findings, options)


def tune(name: str, init: Path, options: argparse.Namespace, world: World, findings: Findings) -> None:
    """Dice of one start for every number of images and every seed."""
    dice = findings.starts[name]["dice"]
    for shots in options.shots:
        for seed in range(options.seeds):
            if f"{shots}/{seed}" not in dice:
                with tempfile.TemporaryDirectory() as folder:
                    dice[f"{shots}/{seed}"] = few_shot(world, init, shots, seed, options.tune_steps, Path(folder))
                findings.save()
        print(name, shots, [round(dice[f"{shots}/{seed}"], 3) for seed in range(options.seeds)], flush=True)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def learned_table(starts: dict[str, dict]) -> str:
    """Each objective's own loss and the monitors of collapse on held-out images, untrained and trained."""
    heads = ["objective", "steps", "processor seconds", "loss", *OWN]
    rows = []
    for name, result in starts.items():
        if name != RANDOM:
            pairs = [f"{result['before'][m]:.3g} → {result['after'][m]:.3g}" for m in ("loss", *OWN)]
            rows.append([name, str(result["steps"]), f"{result['seconds']:.0f}", *pairs])
    return markdown(heads, rows)


def anatomy_table(starts: dict[str, dict]) -> str:
    """Measures of the frozen backbones; random weights are all objectives' untrained network."""
    rows = [[name, *(f"{result['anatomy'][m]:.3g}" for m in MEASURES)] for name, result in starts.items()]
    return markdown(["start", *MEASURES.values()], rows)


def dice_of(found: dict, shots: int, seeds: int) -> np.ndarray:
    """Dice in percent, of each seed."""
    return 100 * np.array([found["dice"][f"{shots}/{seed}"] for seed in range(seeds)])


def dice_table(starts: dict[str, dict], shots: list[int], seeds: int) -> str:
    """Mean and standard deviation over seeds, and of how many pairs (same images, same new layers) the start is better
    than random weights."""
    rows = []
    for name, result in starts.items():
        values = {n: dice_of(result, n, seeds) for n in shots}
        gains = np.concatenate([values[n] - dice_of(starts[RANDOM], n, seeds) for n in shots])
        cells = [f"{v.mean():.1f} ± {v.std(ddof=1) if seeds > 1 else 0:.1f}" for v in values.values()]
        won = ["-", "-"] if name == RANDOM else [f"{gains.mean():+.1f}", f"{(gains > 0).sum()} of {len(gains)}"]
        rows.append([name, *cells, *won])
    return markdown(["start", *(f"Dice, {n} images" for n in shots), "mean gain", "pairs won"], rows)


def draw(starts: dict[str, dict], shots: list[int], seeds: int, path: Path) -> None:
    """Dice over the number of images, one line a start, side by side so that bars do not hide one another."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    middle = (len(starts) - 1) / 2
    for place, (name, result) in enumerate(starts.items()):
        values = np.array([dice_of(result, n, seeds) for n in shots])
        where = np.array(shots) * 1.03 ** (place - middle)
        style = {"color": "black", "linestyle": "--"} if name == RANDOM else {}
        axes.errorbar(where, values.mean(axis=1), values.std(axis=1, ddof=min(1, seeds - 1)), label=name, capsize=3,
                      marker="o", markersize=4, **style)  # fmt: skip
    axes.set(xscale="log", xlabel="images with masks", ylabel="Dice on held-out patients, %")
    axes.set_xticks(shots, [str(n) for n in shots])
    axes.minorticks_off()
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(findings: Findings, options: argparse.Namespace) -> None:
    """Tables and plot of the starts that are finished."""
    wanted = len(options.shots) * options.seeds
    starts = {name: result for name, result in findings.starts.items() if len(result["dice"]) == wanted}
    tables = [learned_table(starts), anatomy_table(starts), dice_table(starts, options.shots, options.seeds)]
    (options.out / "table.md").write_text("\n".join(tables), encoding="utf-8")
    draw(starts, options.shots, options.seeds, options.out / "dice.png")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, help="real images as in cxr_multi (default: generated images)")
    parser.add_argument("--images", type=int, default=160, help="images in each of the two generated datasets")
    parser.add_argument("--minutes", type=float, default=4.0, help="minutes of one thread per pretraining")
    parser.add_argument("--tune-steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--objectives", nargs="+", choices=SECONDS_A_STEP, default=list(SECONDS_A_STEP))
    return parser.parse_args()


def main() -> None:
    """Reads the options, runs and writes."""
    options = arguments()
    torch.set_num_threads(1)
    (options.out / "backbones").mkdir(parents=True, exist_ok=True)
    kept = ("images", "minutes", "tune_steps", "seeds", "shots")
    settings = {name: getattr(options, name) for name in kept} | {"data": options.data_root and options.data_root.name}
    with tempfile.TemporaryDirectory() as folder:
        real = options.data_root is not None
        world = real_world(options.data_root) if real else generated_world(Path(folder), options.images)
        run(options, world, Findings(options.out, settings))
    print((options.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
