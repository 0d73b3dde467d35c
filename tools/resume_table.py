"""Writes the table of --resume in docs/resilience.md from the code: ``python tools/resume_table.py [FILE]``.

What stands above the mark is written by hand and stays.
"""

import sys
from pathlib import Path

from foundationx.core.config.describe import keys_of
from foundationx.core.config.run import RunConfig
from foundationx.engine.resume import resume_table

MARK = "<!-- Below: python tools/resume_table.py -->"


def table() -> str:
    """Every key of a run's configuration, by what a change of it does."""
    return resume_table(list(keys_of(RunConfig)))


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/resilience.md")
    above, mark, _ = path.read_text(encoding="utf-8").partition(MARK)
    path.write_text(f"{above}{mark}\n\n{table()}", encoding="utf-8")
