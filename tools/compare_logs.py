"""Whether two runs learned the same, bit for bit: ``python tools/compare_logs.py RUN_A RUN_B``.

Compares every row of ``log.jsonl`` but the times in it, and every value of ``metrics.json``. Prints a hash of each run
and the first difference; exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

TIMES = ("images_per_second", "data_wait")
"""Fields of ``log.jsonl`` that say how fast a step was, not what was learned."""


def learned(run: Path) -> list[str]:
    """What a run learned, one JSON line per row of its log and of its metrics."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    rows: list[dict[str, Any]] = [{key: value for key, value in row.items() if key not in TIMES} for row in log]
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    return [json.dumps(row, sort_keys=True) for row in [*rows, *metrics]]


def first_difference(one: list[str], other: list[str]) -> str | None:
    """The first pair of lines that differ, for people; None: all are equal."""
    for number, (a, b) in enumerate(zip(one, other, strict=False), start=1):
        if a != b:
            return f"row {number}:\n  {a}\n  {b}"
    return None if len(one) == len(other) else f"{len(one)} rows and {len(other)} rows"


def digest(lines: list[str]) -> str:
    """Hash of what a run learned."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> int:
    """Compares two work directories."""
    parser = argparse.ArgumentParser(description="compare what two runs learned")
    parser.add_argument("runs", type=Path, nargs=2, metavar="RUN", help="work directory of a run")
    options = parser.parse_args()
    one, other = (learned(run) for run in options.runs)
    for run, lines in zip(options.runs, (one, other), strict=True):
        print(f"{digest(lines)}  {run} ({len(lines)} rows)")
    difference = first_difference(one, other)
    print(f"different, {difference}" if difference else "equal")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
