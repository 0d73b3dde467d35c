"""Writes the table of ranges in docs/safety.md from the code: ``python tools/range_table.py [FILE]``.

What stands above the mark is written by hand and stays.
"""

import sys
from pathlib import Path

from foundationx.core.config.describe import range_table
from foundationx.core.config.run import RunConfig

MARK = "<!-- Below: python tools/range_table.py -->"


def table() -> str:
    """Every key of a run's configuration with its type, range and default."""
    return range_table(RunConfig)


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/safety.md")
    above, mark, _ = path.read_text(encoding="utf-8").partition(MARK)
    path.write_text(f"{above}{mark}\n\n{table()}", encoding="utf-8")
