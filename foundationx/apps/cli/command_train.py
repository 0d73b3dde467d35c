"""``foundationx train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.main import STOPPED
from foundationx.apps.cli.options import add_config, parse_options

HELP = "train on the datasets of a configuration, then evaluate, report and export"
EXAMPLE = "foundationx train quickstart/phantom --data-root data/phantoms --work-dir work_dirs/phantom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_config(parser)
    parser.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="folder that the run writes to (default: work_dirs/NAME)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest checkpoint of the work directory"
    )
    parser.add_argument(
        "--profile", action="store_true", help="time the parts of a few steps of every phase, then stop"
    )


def run(options: argparse.Namespace) -> int:
    """Trains."""
    from foundationx.apps.run.train import train
    from foundationx.core import distributed
    from foundationx.core.config.load import load_config
    from foundationx.core.resources import find_config

    config_file = find_config(options.config)
    config = load_config(config_file, parse_options(options.cfg_options))
    work_dir = options.work_dir or Path("work_dirs") / config.name
    if options.profile:
        from foundationx.apps.run.profiling import profile_run

        profile_run(config, options.data_root, work_dir / "profile")
        return 0
    finished = train(config, options.data_root, work_dir, config_file=config_file, resume=options.resume)
    if not finished and distributed.is_main_process():
        print(f"stopped; go on with: foundationx train {options.config} --work-dir {work_dir} --resume")
    return 0 if finished else STOPPED
