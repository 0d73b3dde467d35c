"""Does learning from images alone help when labels are few?

    .venv/bin/python benchmarks/selfsup_transfer.py --out build/selfsup_cxr_multi --data-root ../shared/data/cxr_multi
    .venv/bin/python benchmarks/selfsup_transfer.py --out build/selfsup_phantoms --shots 3 6 12

Every start pretrains for the same processor time on the same unlabelled images: all images of
``tests/configs/cxr_multi.py``, or generated ones. The five objectives and the baselines of ``selfsup_baselines.py``
(``pip install lightly`` for two of them) train the same small Swin from the same weights, MAE a plain ViT. The backbone
then starts segmentation from few images (several seeds: which images, their order, and the new layers), and is measured
frozen by ``foundationx/evaluation/anatomy/``. Beside it: both networks from random weights. Measured are patients of
whom no image was pretrained or tuned on; with ``--side val`` others than with ``--side test``, to choose settings with.
Writes results.json, table.md and dice.png after every start; what was finished is not done again when the command is
repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from selfsup_baselines import BASELINES, pretrain_baseline
from selfsup_learning import LANDMARK_SIDES, PLAIN_VIT, RANDOM, SECONDS_A_STEP, begin, few_shot, measure, pretrain
from selfsup_worlds import World, generated_world, real_world

from foundationx.apps.cli.options import parse_options
from foundationx.core.types import Split
from foundationx.evaluation.bootstrap import Estimate, interval, resamples
from foundationx.evaluation.seeds import over_runs

matplotlib.use("agg")
import matplotlib.pyplot as plt

MEASURES = ("composition", "decomposition")
RANDOM_VIT = "random weights, plain ViT"
NETWORKS = {"mae": PLAIN_VIT, RANDOM_VIT: PLAIN_VIT}
"""Networks of the starts that are no small Swin."""

SECONDS = SECONDS_A_STEP | BASELINES
STARTS = (RANDOM, *SECONDS_A_STEP, *BASELINES, RANDOM_VIT)
DRAWS = 2000


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
    for name in dict.fromkeys((RANDOM, *options.starts)):  # the tables compare with it
        init = options.out / "backbones" / name.replace(" ", "_").replace(",", "") / "backbone.safetensors"
        if name not in findings.starts:
            findings.starts[name] = {"dice": {}, **learn(name, world, init, options)}
            findings.save()
        if "anatomy" not in findings.starts[name]:
            findings.starts[name]["anatomy"] = measure(world, init, options.patients, NETWORKS.get(name))
            findings.save()
        tune(name, init, options, world, findings)
        write(findings, options)


def learn(name: str, world: World, init: Path, options: argparse.Namespace) -> dict[str, object]:
    """Pretrains, or only begins."""
    if name in (RANDOM, RANDOM_VIT):
        begin(world, init, NETWORKS.get(name))
        return {}
    steps = max(1, round(60 * options.minutes / SECONDS[name]))
    if name in BASELINES:
        return pretrain_baseline(name, world, init, steps)
    return pretrain(name, world, init, steps, parse_options(options.set))


def tune(name: str, init: Path, options: argparse.Namespace, world: World, findings: Findings) -> None:
    """Dice of one start for every number of images and every seed."""
    dice, network = findings.starts[name]["dice"], NETWORKS.get(name)
    for shots in options.shots:
        for seed in range(options.seeds):
            if f"{shots}/{seed}" not in dice:
                with tempfile.TemporaryDirectory() as folder:
                    result = few_shot(world, init, shots, seed, options.tune_steps, Path(folder), network)
                dice[f"{shots}/{seed}"] = result
                findings.save()
        print(name, shots, [f"{row.mean():.1f}" for row in dice_of(findings.starts[name], shots)], flush=True)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def learned_table(starts: dict[str, dict]) -> str:
    """What was trained for how long."""
    trained = {name: found for name, found in starts.items() if "steps" in found}
    rows = [[name, str(found["steps"]), f"{found['seconds']:.0f}"] for name, found in trained.items()]
    return markdown(["start", "steps", "processor seconds"], rows)


def anatomy_table(starts: dict[str, dict]) -> str:
    """Wholes and parts in the frozen backbones."""
    rows = [[name, *(f"{found['anatomy'][m]:.3g}" for m in MEASURES)] for name, found in starts.items()]
    return markdown(["start", *MEASURES], rows)


def landmark_table(starts: dict[str, dict], side: int) -> str:
    """The error of matching landmarks in images of ``side`` pixels, against random weights."""
    found = {name: result["anatomy"]["landmarks"][str(side)] for name, result in starts.items()}
    rows = []
    for name, one in found.items():
        gain = "-" if name == RANDOM else shown(crossed(one["raw"], found[RANDOM]["raw"]))
        cells = [f"{np.mean(one['centred']):.1f}", f"{one['common']:.2f}", f"{one['locality']:.3g}"]
        rows.append([name, f"{np.mean(one['raw']):.1f}", gain, *cells])
    heads = ["start", f"error, images of {side}", "less random weights", "centred", "common share", "locality"]
    trivial = found[RANDOM]
    words = f"Any place: {trivial['chance']:.1f}; the same place: {trivial['same_place']:.1f}.\n"
    return markdown(heads, rows) + "\n" + words


def dice_of(found: dict, shots: int) -> np.ndarray:
    """(S, P) Dice in percent of each seed and patient; the patients of all starts are the same."""
    seeds = [key for key in found["dice"] if key.startswith(f"{shots}/")]
    return 100 * np.array([[found["dice"][key][name] for name in sorted(found["dice"][key])] for key in seeds])


def difference(values: object, reference: object) -> Estimate:
    """The mean difference with an interval, in pairs of one seed and patient.

    Draws are of patients; of several seeds the interval also covers their spread, by ``foundationx.evaluation.seeds``.

    Args:
        values: (S, P) or (P,).
        reference: of the same seeds and patients.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=float) - np.asarray(reference, dtype=float))
    weights = np.concatenate(list(resamples(rows.shape[1], DRAWS, 0)), axis=1)
    alone = [
        Estimate("", "", rows.shape[1], float(row.mean()), *(interval(draws) or (None, None)), draws)
        for row in rows
        for draws in [row @ weights / rows.shape[1]]
    ]
    return over_runs(alone, (1,))


def crossed(values: object, reference: object) -> Estimate:
    """The mean difference of (Q, K) errors, in pairs, with an interval: both groups of patients are drawn anew."""
    table = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    asked, searched = (
        np.concatenate(list(resamples(count, DRAWS, seed)), axis=1) for seed, count in enumerate(table.shape)
    )
    draws = np.einsum("qr,qk,kr->r", asked, table, searched) / table.size
    low, high = interval(draws) or (None, None)
    return Estimate("", "", table.size, float(table.mean()), low, high, draws)


def shown(estimate: Estimate) -> str:
    """Value and interval."""
    return f"{estimate.value:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def dice_table(starts: dict[str, dict], shots: list[int]) -> str:
    """Mean and standard deviation over seeds; in pairs of seed and patient the difference from random weights, and the
    best objective's difference from this start."""
    heads, rows = ["start"], [[name] for name in starts]
    for number in shots:
        heads += [f"Dice, {number} images", "less random weights", "seeds won", "best objective less this"]
        values = {name: dice_of(result, number) for name, result in starts.items()}
        objectives = [name for name in starts if name in SECONDS_A_STEP]
        best = max(objectives, key=lambda name: values[name].mean(), default=RANDOM)
        for row, (name, found) in zip(rows, values.items(), strict=True):
            means, reference = found.mean(axis=1), values[RANDOM]
            won = f"{(means > reference.mean(axis=1)).sum()} of {len(means)}"
            row.append(f"{means.mean():.1f} ± {means.std(ddof=1) if len(means) > 1 else 0:.1f}")
            row += ["-", "-"] if name == RANDOM else [shown(difference(found, reference)), won]
            row.append("-" if name == best else shown(difference(values[best], found)))
    return markdown(heads, rows)


def draw(starts: dict[str, dict], shots: list[int], path: Path) -> None:
    """Dice over the number of images, one line a start, side by side so that bars do not hide one another."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    middle = (len(starts) - 1) / 2
    for place, (name, result) in enumerate(starts.items()):
        values = np.array([dice_of(result, n).mean(axis=1) for n in shots])
        where = np.array(shots) * 1.03 ** (place - middle)
        style = {"color": "black", "linestyle": "--"} if name == RANDOM else {}
        spread = values.std(axis=1, ddof=min(1, values.shape[1] - 1))
        axes.errorbar(where, values.mean(axis=1), spread, label=name, capsize=3, marker="o", markersize=4, **style)
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
    tables = [learned_table(starts), *(landmark_table(starts, side) for side in LANDMARK_SIDES)]
    tables += [anatomy_table(starts), dice_table(starts, options.shots)]
    (options.out / "table.md").write_text("\n".join(tables), encoding="utf-8")
    draw(starts, options.shots, options.out / "dice.png")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, help="real images as in cxr_multi (default: generated images)")
    parser.add_argument("--images", type=int, default=160, help="images in each of the two generated datasets")
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes of one thread per pretraining")
    parser.add_argument("--tune-steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="+", default=[12])
    parser.add_argument("--patients", type=int, default=12, help="most patients whose landmarks are searched")
    parser.add_argument("--side", choices=("test", "val"), default="test", help="whose patients are measured")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--set", nargs="+", default=[], help="changes of the objectives' configurations, KEY=VALUE")
    return parser.parse_args()


def main() -> None:
    """Reads the options, runs and writes."""
    options = arguments()
    torch.set_num_threads(1)
    (options.out / "backbones").mkdir(parents=True, exist_ok=True)
    kept = ("images", "minutes", "tune_steps", "seeds", "shots", "patients", "side")
    settings = {name: getattr(options, name) for name in kept} | ({"set": options.set} if options.set else {})
    settings |= {"data": options.data_root and options.data_root.name}
    with tempfile.TemporaryDirectory() as folder:
        real = options.data_root is not None
        side = Split(options.side)
        world = real_world(options.data_root, side) if real else generated_world(Path(folder), options.images, side)
        run(options, world, Findings(options.out, settings))
    print((options.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
