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
        "--resume",
        nargs="?",
        choices=["auto", "changed", "never"],
        default="auto",
        const="changed",
        help="what to do if the folder holds a run: auto (default) goes on with this very run and refuses another "
        "configuration, changed (or --resume alone) takes changed keys over from here, never refuses the folder",
    )
    parser.add_argument(
        "--more-cycles",
        type=int,
        default=0,
        metavar="N",
        help="train a finished run N cycles beyond those of its configuration",
    )
    parser.add_argument(
        "--train-alone",
        action="store_true",
        help="also train a plain run of every head for comparison, with the same patients, steps and seed, in "
        "DIR_alone; goes on with whatever of all these runs is not finished",
    )
    parser.add_argument(
        "--alone-steps",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="steps of a plain run as a multiple of those that the joint run gives the head (default: 1)",
    )
    parser.add_argument(
        "--profile", action="store_true", help="time the parts of a few steps of every phase, then stop"
    )


def run(options: argparse.Namespace) -> int:
    """Trains."""
    from foundationx.apps.run.alone import train_alone
    from foundationx.apps.run.train import train
    from foundationx.core import distributed
    from foundationx.core.config.load import load_config
    from foundationx.core.errors import ConfigError
    from foundationx.core.resources import find_config
    from foundationx.engine.resume import Resume

    if not 0 < options.alone_steps <= 1000:
        raise ConfigError("--alone-steps", f"found {options.alone_steps:g}", "a factor above 0, at most 1000")

    config_file = find_config(options.config)
    config = load_config(config_file, parse_options(options.cfg_options))
    work_dir = options.work_dir or Path("work_dirs") / config.name
    if options.profile:
        from foundationx.apps.run.profiling import profile_run

        profile_run(config, options.data_root, work_dir / "profile")
        return 0
    try:
        finished = train(
            config,
            options.data_root,
            work_dir,
            config_file=config_file,
            resume=Resume(options.resume),
            more_cycles=_positive(options.more_cycles),
        )
        if finished and options.train_alone:
            finished = train_alone(work_dir, options.data_root, options.alone_steps)
    except KeyboardInterrupt:  # the second one in training, or one in evaluation, report or the filling of a cache
        finished = False
    if finished and options.train_alone and distributed.is_main_process():
        _print_alone(work_dir)
    if not finished and distributed.is_main_process():
        print(f"stopped; go on with: {_command_to_go_on(options, work_dir)}", flush=True)
    return 0 if finished else STOPPED


def _positive(more_cycles: int) -> int:
    """The number of further cycles. Raises ConfigError if it is negative."""
    from foundationx.core.errors import ConfigError

    if more_cycles < 0:
        raise ConfigError("--more-cycles", f"found {more_cycles}", "0 or more", "a run cannot become shorter")
    return more_cycles


def _command_to_go_on(options: argparse.Namespace, work_dir: Path) -> str:
    """The command that continues the run, or begins it if nothing of it is stored: the one that was given.

    ``--resume changed`` stays in it: the changed keys stand in no checkpoint before the next one.
    """
    words = [options.config, "--data-root", options.data_root, "--work-dir", work_dir]
    for folder in options.registry:
        words += ["--registry", folder]
    words += ["--resume", "changed"] if options.resume == "changed" else []
    words += ["--more-cycles", options.more_cycles] if options.more_cycles else []
    words += ["--train-alone", "--alone-steps", f"{options.alone_steps:g}"] if options.train_alone else []
    words += ["--cfg-options", *options.cfg_options] if options.cfg_options else []
    return shlex.join(["foundationx", "train", *map(str, words)])


def _print_alone(work_dir: Path) -> None:
    """Every head of the joint run beside its plain run and the trivial row, and how to compare them with intervals."""
    from rich.table import Table

    from foundationx.apps.cli.options import wide_console
    from foundationx.apps.run.alone import beside_alone
    from foundationx.apps.run.marks import marked

    table = Table(title=f"{work_dir} beside plain runs of its heads", title_justify="left")
    for column in ("head", "metric", "split", "model", "trivial", "alone", "joint"):
        table.add_column(column)
    rows = beside_alone(work_dir)
    for row in rows:
        values = [marked(row.trivial, [])] + [
            marked(value, [row.trivial], metric=row.metric) for value in (row.alone, row.joint)
        ]
        table.add_row(str(row.head), row.metric, row.split, row.model, *values)
    wide_console().print(table)
    words = ["foundationx", "ledger", work_dir, "--alone", *dict.fromkeys(row.folder.parent for row in rows)]
    print(f"with intervals and a verdict: {shlex.join(map(str, words))}")
