"""What becomes of damaged, hostile and senseless files: each is read, refused with a clear message, or quarantined.

Real published files (``--shared``, or the folder that FOUNDATIONX_SHARED names) and generated ones in the layouts of
the tests are damaged in every way that ``fuzzing/mutate.py`` knows, and read as a run would read them, in a process
whose memory and time are limited and which notes every file that it opens. Prints a markdown table, and every input
that was neither read, refused nor quarantined, with the arguments that repeat it. The small form is
``tests/benchmarks/test_fuzz_inputs.py``.

    python benchmarks/fuzz_inputs.py [--count 10000] [--seed 0] [--jobs 1] [--shared ../shared/data]
        [--only KIND [--number N]] [--results FILE]
    python benchmarks/fuzz_inputs.py --table FILE

``--results`` appends every verdict to a CSV file, from which ``--table`` makes the table of many runs.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "benchmarks"), str(PROJECT)]

from fuzzing.images import bomb  # noqa: E402
from fuzzing.judge import CRASH, GOOD, MEMORY, OUTCOMES, SLOW, Verdict  # noqa: E402
from fuzzing.kinds import BOMBS, KINDS, Sandbox  # noqa: E402
from fuzzing.limits import limit_memory, measured, processor_seconds  # noqa: E402

SECONDS, WAIT, PATIENCE = 10.0, 60.0, 5
"""Of processor time that one input may take; of waiting before its process is ended, if it has had that time; and how
often that is waited for at most."""

PEAK = 2 * 2**30
"""Bytes that one input may take at its peak."""

MEMORY_FOLDER = Path("/dev/shm")
"""Sandboxes lie in memory if there is such a folder: an input writes up to fifty small files."""

Result = tuple[str, int, Verdict]


def shared_folder(given: str | None) -> Path | None:
    """The real files, where there are any."""
    folder = Path(given or os.environ.get("FOUNDATIONX_SHARED") or PROJECT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def serve(requests: Connection, base: Path, shared: Path | None, seed: int) -> None:
    """Answers (kind, number) with a verdict, until the parent ends."""
    parent = os.getppid()
    sandbox = Sandbox(base, shared, seed)
    limit_memory(2 * PEAK)
    while os.getppid() == parent:
        if not requests.poll(1.0):
            continue
        try:
            kind, number = requests.recv()
        except EOFError:
            return
        verdict, seconds, peak = measured(lambda kind=kind, number=number: sandbox.judge(kind, number))
        if verdict.outcome in GOOD and seconds > SECONDS:
            verdict = Verdict(SLOW, f"{seconds:.0f} s")
        if verdict.outcome in GOOD and peak > PEAK:
            verdict = Verdict(MEMORY, f"{peak / 2**30:.1f} GiB")
        requests.send(verdict)


class Reader:
    """A process that reads inputs; a new one is started where an input has ended or stopped it."""

    def __init__(self, base: Path, shared: Path | None, seed: int):
        self.base, self.shared, self.seed = base, shared, seed
        self._started, self._answered, self._process, self._pipe = 0, False, None, None

    def judge(self, kind: str, number: int) -> Verdict:
        """What became of an input."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send((kind, number))
            before = processor_seconds(self._process.pid)
            for _ in range(PATIENCE):
                if self._pipe.poll(WAIT):
                    verdict, self._answered = self._pipe.recv(), True
                    return verdict
                if self._answered and processor_seconds(self._process.pid) - before > SECONDS:
                    break  # else other programs have the processor
            verdict = Verdict(SLOW, f"no answer within {WAIT:.0f} s")
        except (EOFError, BrokenPipeError, ConnectionResetError):
            if not self._answered:
                raise
            verdict = Verdict(CRASH, f"the process ended with {self._ended()}")
        self.stop()
        return verdict

    def _start(self) -> None:
        context = get_context("fork")
        self._started += 1
        self._answered = False
        folder = self.base / f"process{self._started}"
        folder.mkdir(parents=True)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, folder, self.shared, self.seed), daemon=True)
        self._process.start()
        theirs.close()

    def _ended(self) -> int | None:
        self._process.join(5)
        return self._process.exitcode

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def run(inputs: Sequence[tuple[str, int]], shared: Path | None, seed: int, jobs: int = 1) -> Iterator[Result]:
    """The verdict of each input (kind and number), read by so many processes side by side."""
    if {kind for kind, _ in inputs} & BOMBS:
        for byte in (b"\0", b"\n"):
            bomb(byte)  # made once, for all processes
    in_memory = str(MEMORY_FOLDER) if os.access(MEMORY_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz", dir=in_memory) as base:
        readers = [Reader(Path(base) / str(job), shared, seed) for job in range(jobs)]
        try:
            with ThreadPoolExecutor(jobs) as pool:
                for first in range(0, len(inputs), jobs):
                    some = inputs[first : first + jobs]
                    verdicts = pool.map(lambda reader, item: reader.judge(*item), readers, some)
                    yield from ((*item, verdict) for item, verdict in zip(some, verdicts, strict=True))
        finally:
            for reader in readers:
                reader.stop()


def spread(count: int, shared: Path | None) -> list[tuple[str, int]]:
    """``count`` inputs over the kinds, by their weights; kinds that need the real files only where there are any."""
    kinds = {name: kind for name, kind in KINDS.items() if shared is not None or not kind.real}
    total = sum(kind.weight for kind in kinds.values())
    numbers = {name: max(1, round(count * kind.weight / total)) for name, kind in kinds.items()}
    return [(name, number) for name, many in numbers.items() for number in range(many)]


def table(results: Iterable[Result]) -> str:
    """Markdown: a row a kind, a column an outcome."""
    counts: dict[str, Counter[str]] = {}
    for kind, _, verdict in results:
        counts.setdefault(kind, Counter())[verdict.outcome] += 1
    counts["all"] = sum(counts.values(), Counter())
    lines = [f"| input | number | {' | '.join(OUTCOMES)} |", "|---|" + "--:|" * (1 + len(OUTCOMES))]
    for kind, result in counts.items():
        cells: list[Any] = [sum(result.values()), *(result[outcome] for outcome in OUTCOMES)]
        lines.append(f"| {kind} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(lines)


def read_results(path: Path) -> Iterator[Result]:
    """The results that ``--results`` stored; of an input that was repeated, the last one."""
    with path.open(newline="") as file:
        rows = {(seed, kind, number): (outcome, why) for seed, kind, number, outcome, why in csv.reader(file)}
    for (_, kind, number), (outcome, why) in rows.items():
        yield kind, int(number), Verdict(outcome, why)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--shared")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--number", type=int, help="one input of --only")
    parser.add_argument("--results", type=Path, help="CSV file that every verdict is appended to")
    parser.add_argument("--table", type=Path, help="prints the table of such a file, and reads no input")
    return parser.parse_args()


def main() -> int:
    """The command."""
    arguments = parse()
    if arguments.table:
        print(table(sorted(read_results(arguments.table), key=lambda result: list(KINDS).index(result[0]))))
        return 0
    shared = shared_folder(arguments.shared)
    inputs = spread(arguments.count, shared)
    random.Random(0).shuffle(inputs)  # a run that is ended early has tried some of every kind
    if arguments.only:
        numbers = range(arguments.count) if arguments.number is None else [arguments.number]
        inputs = [(arguments.only, number) for number in numbers]
    started, results = time.monotonic(), []
    with contextlib.ExitStack() as stack:
        rows = None
        if arguments.results:
            rows = csv.writer(stack.enter_context(arguments.results.open("a", newline="", buffering=1)))
        for result in run(inputs, shared, arguments.seed, arguments.jobs):
            results.append(result)
            kind, number, verdict = result
            if rows is not None:
                rows.writerow([arguments.seed, kind, number, verdict.outcome, verdict.why])
            if verdict.outcome not in GOOD or arguments.number is not None:
                command = f"--seed {arguments.seed} --only '{kind}' --number {number}"
                print(f"{verdict.outcome}: {command}: {verdict.why}", flush=True)
    results.sort(key=lambda result: list(KINDS).index(result[0]))
    print(f"\n{table(results)}\n\n{len(results):,} inputs in {(time.monotonic() - started) / 60:.0f} minutes")
    return 0 if all(verdict.outcome in GOOD for _, _, verdict in results) else 1


if __name__ == "__main__":
    sys.exit(main())
