"""``foundationx train``."""

from __future__ import annotations

import argparse
import shlex
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
    try:
        finished = train(config, options.data_root, work_dir, config_file=config_file, resume=options.resume)
    except KeyboardInterrupt:  # the second one in training, or one in evaluation, report or the filling of a cache
        finished = False
    if not finished and distributed.is_main_process():
        print(f"stopped; go on with: {_command_to_go_on(options, work_dir)}", flush=True)
    return 0 if finished else STOPPED


def _command_to_go_on(options: argparse.Namespace, work_dir: Path) -> str:
    """The command line that continues the run, or begins it if nothing of it is stored."""
    from foundationx.core.workdir import WorkDir

    words = [options.config, "--data-root", options.data_root, "--work-dir", work_dir]
    words += ["--resume"] if WorkDir(work_dir).is_begun else []
    words += ["--cfg-options", *options.cfg_options] if options.cfg_options else []
    return shlex.join(["foundationx", "train", *map(str, words)])
