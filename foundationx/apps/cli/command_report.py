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
    from foundationx.core.errors import CheckpointError
    from foundationx.core.run_files import NAMES
    from foundationx.core.workdir import WorkDir
    from foundationx.evaluation.report import write_report

    work = WorkDir(options.work_dir)
    if not any((work.root / name).exists() for name in (*NAMES, "checkpoints")):
        found = "holds no run" if work.root.is_dir() else "there is no such folder"
        raise CheckpointError(str(work.root), found, "work directory of a run", "check the path")
    print(write_report(work.root))
    for name, fault in (work.faults() | work.unread_arrays()).items():
        print(f"note: {options.work_dir / name} {fault}; passed over")
