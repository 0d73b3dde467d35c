"""Evaluation of student and teacher on every head, as the released code does it and as ours does.

Numbers of both are compared first.

    python benchmarks/bench_evaluation.py [--runs 3]
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import heading, in_turns, options, peak_bytes, table, times
from released_evaluation import evaluate_plainly
from small_world import CONFIG as SMALL
from small_world import TASKS, World, keys

from foundationx.apps.run.train import build_model
from foundationx.core.config.load import load_config
from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import Split
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.evaluation.evaluator import evaluate
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets

TINY = Path(__file__).parents[1] / "tests" / "helpers" / "tiny_config.py"
IMAGES, BATCH = 16, 8
TABLES = ("All three tasks", *(task.value.capitalize() for task in TASKS))
NETWORKS = {"tiny": {}, "small": {"model": SMALL.model_dump(), "image_size": 128}}
WORLDS = (("tiny", 1024), ("small", 1024), ("small", 2500))
"""Networks, and side of the images in pixels: NIH ChestX-ray14 has 1024, MIMIC-CXR and CheXpert have about 2500."""

BATCHES, SIDES = (1, 2, 4, 8, 16), (128, 224)
"""Images of a batch, and pixels a side, of which evaluation is timed."""

METRICS = ("AUROC", "AP40", "Dice")
MEGABYTE = 2**20


def main() -> None:
    runs = options(__doc__, runs=3).runs
    heading(
        "Evaluation of student and teacher",
        f"{IMAGES} generated images, one card with three tasks, batches of {BATCH}. "
        "The released logic: one model after the other, head by head, each image decoded every time, detection one "
        "image at a time, all results kept until the end. Ours without and with `runtime.cache`. The tiny network uses "
        "64 pixels, so that reading dominates; the small one is that of the other benchmarks at 128 pixels. With the "
        "cache, images were decoded before.",
    )
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as where, contextlib.redirect_stdout(io.StringIO()):
        for network, side in WORLDS:
            folder = Path(where) / f"{side}"
            if not folder.exists():
                write_phantom_datasets(folder / "data", {"phantom_all": IMAGES}, size=side, processes=1)
            name = f"{network}, images of {side}"
            for what, tasks in zip(TABLES, (TASKS, *((task,) for task in TASKS)), strict=True):
                decoded, cached = (data_modules(folder, network, tasks, cache) for cache in (False, True))
                models = dict.fromkeys(("student", "teacher"), build_model(decoded.config, decoded, "cpu"))
                check_equal(decoded, models)
                rows.append([f"{name}, {what.lower()}", *timed(decoded, cached, models, runs)])
                if tasks == TASKS:
                    peaks.append([name, *memory(decoded, models)])
    columns = ["network, images, heads", "released logic, s", "foundationx, s", "times faster"]
    table([*columns, "cached, s", "times faster, cached"], rows)
    table(["network, images, all three tasks", "released logic, peak MB", "foundationx, peak MB"], peaks)
    print("Peaks are the sum of tensors and of Python and NumPy memory, including the state of metrics.\n")
    print(
        "Both models compute every head, so arithmetic sets the limit: only the repeated backbone passes are saved, "
        "since one pass serves all heads.\n"
    )
    print("Milliseconds an image of all three tasks by the small network, in batches of (`runtime.eval_batch_size`):\n")
    table(["image", *(f"{size}" for size in BATCHES)], [by_batch(side, runs) for side in SIDES])


def by_batch(side: int, runs: int) -> list[str]:
    """A row: milliseconds of an image in batches of several sizes; memory that is freed is kept, as in a run."""
    keep_freed_memory()
    heads = keys(1)
    model, images = World(heads).student.eval(), torch.rand(max(BATCHES), 3, side, side)

    @torch.inference_mode()
    def predict(size: int) -> None:
        for part in images.split(size):
            model.predict_all(part, heads)

    seconds = in_turns({str(size): functools.partial(predict, size) for size in BATCHES}, runs)
    return [f"{side} x {side}", *(f"{1000 * value / len(images):.1f}" for value in seconds.values())]


def data_modules(where: Path, network: str, tasks: tuple, cache: bool) -> DataModule:
    """The datasets with one card's heads of these tasks."""
    changes: dict[str, Any] = {
        "datasets": [{"card": "phantom_all", "tasks": tasks}],
        "runtime.eval_batch_size": BATCH,
        "evaluate.examples": 2,
    }
    if cache:
        changes["runtime.cache"] = f"{where}/cache"
    data_module = open_datasets(load_config(TINY, changes | NETWORKS[network]), where / "data")
    data_module.fill_cache()
    return data_module


def ours(data_module: DataModule, models: dict[str, FoundationModel]) -> dict:
    """The numbers of ``evaluate_plainly``."""
    result = evaluate(data_module, models, Split.TRAIN, 0)
    values: dict[tuple, list] = {}
    for row in result.rows:
        if row.metric in METRICS and row.class_name != "mean":
            key = next(k for k in data_module.annotations if (k.dataset, k.task.value) == (row.dataset, row.task))
            values.setdefault((row.model, key), []).append(np.nan if row.value is None else row.value)
    return {name: np.array(of_head) for name, of_head in values.items()}


def check_equal(data_module: DataModule, models: dict[str, FoundationModel]) -> None:
    """Raises AssertionError where the two ways differ by more than rounding."""
    plain, result = evaluate_plainly(data_module, models, Split.TRAIN), ours(data_module, models)
    assert plain.keys() == result.keys()
    for name in plain:
        np.testing.assert_allclose(result[name], plain[name], atol=1e-4, err_msg=str(name))


def timed(decoded: DataModule, cached: DataModule, models: dict[str, FoundationModel], runs: int) -> list[str]:
    ways = {
        "plain": functools.partial(evaluate_plainly, decoded, models, Split.TRAIN),
        "ours": functools.partial(evaluate, decoded, models, Split.TRAIN, 0),
        "cached": functools.partial(evaluate, cached, models, Split.TRAIN, 0),
    }
    seconds = in_turns(ways, runs)
    plain, read, kept = seconds.values()
    return [f"{plain:.2f}", f"{read:.2f}", times(plain, read), f"{kept:.2f}", times(plain, kept)]


def memory(data_module: DataModule, models: dict[str, FoundationModel]) -> list[str]:
    """Peaks of the released logic and of ours."""
    ways: list[Callable[[], Any]] = [
        functools.partial(evaluate_plainly, data_module, models, Split.TRAIN),
        functools.partial(evaluate, data_module, models, Split.TRAIN, 0),
    ]
    peaks = []
    for way in ways:
        tracemalloc.start()
        tensors = peak_bytes(way)
        peaks.append(f"{(tensors + tracemalloc.get_traced_memory()[1]) / MEGABYTE:.0f}")
        tracemalloc.stop()
    return peaks


if __name__ == "__main__":
    main()
