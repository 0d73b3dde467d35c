"""``foundationx doctor``."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from foundationx.apps.cli.main import FAULT
from foundationx.apps.cli.options import add_changes, add_data_root, parse_options

HELP = "check what may spoil a run: the machine, its limits and, given a configuration, a trial of every phase"
EXAMPLE = "foundationx doctor quickstart/phantom --data-root data/phantoms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "config",
        type=Path,
        nargs="?",
        help="configuration to try, a file or the name of one that comes with the package (default: none)",
    )
    parser.add_argument(
        "--work-dir", type=Path, default=Path("work_dirs"), metavar="DIR", help="folder that the run will write to"
    )
    add_data_root(parser)
    add_changes(parser)


def run(options: argparse.Namespace) -> int:
    """Prints one line per finding. Fails if a run would not work."""
    from foundationx.apps.run.doctor import Level, examine_machine, examine_run

    findings = examine_machine(options.work_dir)
    if options.config is not None:
        from foundationx.core.config.load import load_config

        config = load_config(options.config, parse_options(options.cfg_options))
        findings = itertools.chain(findings, examine_run(config, options.data_root, options.work_dir))
    counts = dict.fromkeys(Level, 0)
    for finding in findings:
        counts[finding.level] += 1
        fix = f"; fix: {finding.fix}" if finding.fix else ""
        print(f"{finding.level.value:<5} {finding.topic:<36} {finding.found}{fix}", flush=True)
    print(", ".join(f"{count} {level.value}" for level, count in counts.items()))
    return FAULT if counts[Level.FAIL] else 0
