"""``foundationx report``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a work directory's report.html anew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("work_dir", type=Path)


def run(options: argparse.Namespace) -> None:
    """Writes the report."""
    from foundationx.evaluation.report import write_report

    print(write_report(options.work_dir))
