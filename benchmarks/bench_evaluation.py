"""Evaluation of student and teacher in one pass over the data against one after the other, with and without the cache.

python benchmarks/bench_evaluation.py [--runs 5]
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from measuring import heading, in_turns, options, peak_bytes, table, times

from foundationx.configfile import load_config
from foundationx.data.phantom.write import write_phantom_datasets
from foundationx.data.sources import DataBook, open_datasets
from foundationx.evaluate.evaluator import evaluate
from foundationx.model import FoundationModel
from foundationx.run.train import build_model
from foundationx.types import Split

CONFIG = Path(__file__).parents[1] / "tests" / "tiny_config.py"
FILMS, SIDE = 16, 512
MEGABYTE = 2**20


def main() -> None:
    runs = options(__doc__, runs=5).runs
    films = f"Three datasets of {FILMS} generated films of {SIDE} x {SIDE} pixels"
    setting = f"{films}, a tiny network at 64 pixels, so that reading counts."
    heading("Evaluation of student and teacher", setting)
    rows = []
    with tempfile.TemporaryDirectory() as where, contextlib.redirect_stdout(io.StringIO()):
        write_phantom_datasets(Path(where) / "data", FILMS, size=SIDE, processes=1)
        for name, changes in {"decoded": {}, "cached": {"runtime.cache": f"{where}/cache"}}.items():
            book = open_datasets(load_config(CONFIG, changes), Path(where) / "data")
            book.fill_cache()
            rows.append(row(name, book, build_model(book.config, book, "cpu"), runs))
    table(["images", "one after the other, s", "one pass, s", "times faster", "peak of one pass, MB"], rows)
    print("The peak counts tensors: one batch and its predictions. Arrays that metrics keep are not in it.\n")


def row(name: str, book: DataBook, model: FoundationModel, runs: int) -> list[str]:
    def in_one_pass() -> None:
        evaluate(book, {"student": model, "teacher": model}, Split.TRAIN, 0)

    def one_after_the_other() -> None:
        for which in ("student", "teacher"):
            evaluate(book, {which: model}, Split.TRAIN, 0)

    seconds = in_turns({"one": in_one_pass, "two": one_after_the_other}, runs)
    peak = peak_bytes(in_one_pass) / MEGABYTE
    return [
        name,
        f"{seconds['two']:.2f}",
        f"{seconds['one']:.2f}",
        times(seconds["two"], seconds["one"]),
        f"{peak:.1f}",
    ]


if __name__ == "__main__":
    main()
