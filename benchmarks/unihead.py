"""One model with UniHead for labels, boxes, masks and landmarks beside the same backbone and steps with other heads.

    python benchmarks/unihead.py --seeds 3 --out /tmp/unihead
    FOUNDATIONX_REGISTRY=tests/registry python benchmarks/unihead.py --seeds 3 --out /tmp/unihead_real \\
        --config tests/configs/covid_cxr.py --data ../shared/data/cxr_real --size 96

The others are linear, DINO, UPerNet and heat maps. All are trained on the same phantoms and evaluated on held-out
patients by the teacher: AUROC, AP40, Dice and mean radial error (MRE, in per cent of the side), the mean over seeds and
the least and largest; the last row is what training annotations say without looking at an image. Beside them:
parameters of trunks and heads, floating-point operations of one image's prediction (of matrix products and
convolutions, a multiply-add being two), and the most bytes that a prediction of eight images holds. A run that is there
is not made again. With ``--config`` and ``--data`` the same heads are compared on datasets of one's own; a quarter of
their patients is held out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import heading, peak_bytes, table
from torch.utils.flop_counter import FlopCounterMode

from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.types import Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PRESET = CONFIGS / "unihead" / "unihead_phantom.py"
ARMS: dict[str, dict[str, Any]] = {"UniHead": {}, "standard": {"model.heads": {"_delete_": True}}}
"""What is changed of the preset."""

HELD_OUT = {"split": {"train": 0.75, "val": 0.0, "test": 0.25}, "evaluate.final": ["test"]}
"""What is changed of a configuration of one's own."""

IMAGES = {"phantom_labels": 700, "phantom_boxes": 500, "phantom_masks": 200}
"""Phantoms in each dataset; landmarks are those of the masks' images."""

METRICS = ("AUROC", "AP40", "Dice", "MRE")


def phantoms(seed: int, options: argparse.Namespace) -> Path:
    """The folder of a seed's phantoms, written if it is not there."""
    data: Path = options.out / f"data{seed}"
    if not data.exists():
        begun = data.with_suffix(".begun")  # one that was killed is written again
        write_phantom_datasets(begun, IMAGES, size=options.size, seed=seed, processes=1)
        begun.rename(data)
    return data


def run_folder(arm: str, seed: int, options: argparse.Namespace) -> Path:
    """Work directory of one run, trained if it is not there."""
    folder: Path = options.out / f"{arm}{seed}"
    if not (folder / "report.html").exists():
        changes = {"runtime.seed": seed, "image_size": options.size, "evaluate.models": ["teacher"]}
        if options.data is None:
            config, data = load_config(PRESET, changes | ARMS[arm]), phantoms(seed, options)
        else:
            heads = {} if arm == "standard" else {"model.heads": heads_of_preset()}
            config, data = load_config(options.config, changes | HELD_OUT | heads), options.data
        assert train(config, data, folder), "stopped before its end"
    return folder


def heads_of_preset() -> dict[str, Any]:
    """The preset's heads, as a configuration writes them."""
    heads = load_config(PRESET).model.heads
    return {task.value: {"type": head.type, "options": dict(head.options)} for task, head in heads.items()}


def scores(folder: Path, model: str) -> dict[str, float]:
    """The last figures of ``teacher`` or ``trivial`` on test patients."""
    rows = [row for row in WorkDir(folder).read_metrics() if (row.split, row.model) == ("test", model)]
    last = max(row.visit for row in rows)
    means = [row for row in rows if row.visit == last and row.class_name == "mean"]
    own = [row for row in means if row.metric == Task(row.task).facts.headline]
    return {row.metric: math.nan if row.value is None else row.value for row in own}


def costs(arm: str, side: int) -> Iterator[tuple[str, float, float, float]]:
    """Of each head: name, millions of parameters above the backbone, GFLOP of an image, MB that eight images take."""
    config, catalog = load_config(PRESET, ARMS[arm]), Catalog()
    sources = {dataset.card: catalog.card(dataset.card).tasks for dataset in config.datasets}
    heads = {
        TaskKey(card, task): [item.name for item in source.classes]
        for card, tasks in sources.items()
        for task, source in tasks.items()
    }
    model = FoundationModel(config.model, heads).eval()
    for key in model.classes:
        parts = (model.trunks[key.task.value], model.head(key))
        parameters = sum(parameter.numel() for part in parts for parameter in part.parameters())
        with FlopCounterMode(display=False) as flops:  # it wants a graph
            model.predict(torch.zeros(1, 3, side, side), key)
        with torch.no_grad():
            held = peak_bytes(partial(model.predict, torch.zeros(8, 3, side, side), key))
        yield str(key), parameters / 1e6, flops.get_total_flops() / 1e9, held / 1e6


def spread(values: list[float]) -> str:
    """Mean, least and largest."""
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def compare(options: argparse.Namespace) -> None:
    """Trains what is not there and prints the scores."""
    found = {arm: [run_folder(arm, seed, options) for seed in range(options.seeds)] for arm in ARMS}
    figures = {arm: [scores(folder, "teacher") for folder in folders] for arm, folders in found.items()}
    figures["trivial"] = [scores(folder, "trivial") for folder in found["UniHead"]]
    names = [name for name in METRICS if name in figures["trivial"][0]]
    lines = [[arm, *(spread([one[name] for one in all_]) for name in names)] for arm, all_ in figures.items()]
    table(["heads", *names], lines)


def main() -> None:
    """Trains what is not there and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="0: nothing is trained, the costs alone")
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/unihead"))
    parser.add_argument("--config", type=Path, help="of datasets of one's own; with --data")
    parser.add_argument("--data", type=Path, help="folder of these datasets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if (options.config is None) != (options.data is None):
        parser.error("--config and --data belong together")
    world = options.config or ", ".join(f"{name} {count}" for name, count in IMAGES.items())
    heading("UniHead beside the standard heads", f"Seeds: {options.seeds}. Images of {options.size} pixels: {world}.")
    if options.seeds:
        compare(options)
    if options.data is not None:
        return
    shown = [
        [arm, key, f"{size:.2f}", f"{flop:.2f}", f"{held:.0f}"]
        for arm in ARMS
        for key, size, flop, held in costs(arm, options.size)
    ]
    table(["heads", "head", "million parameters", "GFLOP an image", "MB of eight images"], shown)


if __name__ == "__main__":
    main()
