"""What the demo reaches with several seeds: scores on held-out phantoms beside the trivial ones, and processor time.

    python benchmarks/bench_demo.py [--runs 3] [--precision bf16]

A seed has phantoms, weights and order of its own. Processor time is that of one thread: of the phantoms, and of all
that follows up to the report; imports, export and prediction of the command are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import torch
from measuring import table

from foundationx.apps.cli.command_demo import CONFIG, IMAGES, SIZE
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.resources import find_config
from foundationx.core.types import MetricRow
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.measure import is_headline
from foundationx.evaluation.trivial import TRIVIAL
from foundationx.phantoms.write import write_phantom_datasets


def main() -> None:
    """Runs every seed and prints a row of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--precision", default="bf16", help="precision of training: fp32 or bf16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):  # progress of training
        found = [run(seed, options.precision) for seed in range(options.runs)]
    heads = list(found[0][0])
    cells = [
        [str(seed), *scores.values(), *(f"{part:.0f}" for part in seconds)]
        for seed, (scores, seconds) in enumerate(found)
    ]
    print("## Demo\n")
    print(f"`foundationx demo` in {options.precision}, scores of the teacher on held-out phantoms.\n")
    table(["seed", *(f"{head} (trivial)" for head in heads), "phantoms, CPU s", "the rest, CPU s"], cells)


def run(seed: int, precision: str) -> tuple[dict[str, str], tuple[float, float]]:
    """Score and trivial score of each head, and processor seconds of the phantoms and of the rest."""
    with tempfile.TemporaryDirectory() as where:
        data, folder = Path(where) / "data", Path(where) / "run"
        begin = time.process_time()
        write_phantom_datasets(data, IMAGES, size=SIZE, seed=seed, processes=1)
        written = time.process_time()
        config = load_config(find_config(CONFIG), {"runtime.seed": seed, "runtime.precision": precision})
        train(config, data, folder)
        ended = time.process_time()
        rows = [row for row in WorkDir(folder).read_metrics() if row.split == "test" and row.visit and is_headline(row)]
    return _scores(rows), (written - begin, ended - written)


def _scores(rows: list[MetricRow]) -> dict[str, str]:
    """Teacher's headline metric of each head, with what an answer without looking reaches."""
    by_model = {(row.dataset, row.metric, row.model): row.value for row in rows}
    return {
        metric: f"{value:.3f} ({by_model[dataset, metric, TRIVIAL]:.3f})"
        for (dataset, metric, model), value in by_model.items()
        if model == "teacher"
    }


if __name__ == "__main__":
    main()
