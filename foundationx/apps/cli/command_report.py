"""``foundationx report``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "regenerate report.html of a work directory"
EXAMPLE = "foundationx report work_dirs/phantom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("work_dir", type=Path, help="work directory of a run")


def run(options: argparse.Namespace) -> None:
    """Writes the report."""
    from foundationx.core.workdir import WorkDir
    from foundationx.evaluation.report import write_report

    print(write_report(options.work_dir))
    for name, fault in WorkDir(options.work_dir).faults().items():
        print(f"note: {options.work_dir / name} {fault}; passed over")
