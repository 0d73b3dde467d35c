"""Ray Train (the extra ``ray``): ``python -m foundationx.apps.launch.ray_train --workers N -- CONFIG --data-root DIR``.

Every worker runs ``foundationx train`` with the arguments behind ``--``; Ray has joined them to a process group, which
the command finds. A worker that dies is started again with the others, and the run goes on from its last checkpoint.
The work directory has to be on storage that all machines see.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from foundationx.core.distribution import install_hint
from foundationx.core.errors import ConfigError

LOGGER = logging.getLogger(__name__)

ATTEMPTS = 6
"""How often Ray is started on this machine: it gives its own processes half a minute, which a busy machine exceeds."""

PATIENCE = 1800
"""Seconds for workers to start; Ray's own minute is short where each of them loads torch on a busy machine."""

STORE = 128 * 2**20
"""Bytes of Ray's store of objects on this machine: the workers exchange none, and Ray would take a third of memory."""


def worker(settings: dict[str, Any]) -> None:
    """What each of Ray's workers does.

    Args:
        settings: ``words``: arguments of the command; ``folder``: working directory.

    Raises:
        RuntimeError: The command has failed or was stopped; Ray starts the workers again.
    """
    from ray.train import get_context

    os.environ["LOCAL_RANK"] = str(get_context().get_local_rank())  # number of the worker's GPU on its machine
    os.chdir(settings["folder"])
    run_command(settings["words"])


def run_command(words: list[str]) -> None:
    """Runs ``foundationx train`` with the given words. Raises RuntimeError: it has failed or was stopped."""
    from foundationx.apps.cli.main import main

    if code := main(["train", *words]):
        raise RuntimeError(f"foundationx train ended with code {code}")


def start_here(workers: int) -> None:
    """Starts Ray on this machine alone: one place per worker and one for Ray Train's own, however many cores there are.

    Raises:
        RuntimeError: Ray's processes are not up after several attempts.
    """
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers beside any other program
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(address="local", num_cpus=workers + 1, include_dashboard=False, object_store_memory=STORE)
            return
        except Exception as error:
            ray.shutdown()
            LOGGER.warning("Ray has not started (attempt %d of %d): %s", attempt, ATTEMPTS, error)
    raise RuntimeError(f"Ray has not started on this machine in {ATTEMPTS} attempts; its logs are in /tmp/ray")


def launch(words: list[str], workers: int, *, gpus: bool, restarts: int, storage: Path, here: bool = False) -> None:
    """Trains with Ray's ``TorchTrainer``.

    Args:
        words: Arguments of ``foundationx train``.
        workers: Number of workers, over all machines of the cluster.
        gpus: One GPU per worker.
        restarts: How often a failed run is started again.
        storage: Folder for Ray's own records; ours go to the work directory.
        here: Whether Ray is started on this machine by :func:`start_here`, instead of joining a cluster that runs.

    Raises:
        ConfigError: Ray is not installed.
        RuntimeError: Ray has not started on this machine.
    """
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(PATIENCE))
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        found = f"cannot be imported ({error})"
        raise ConfigError("ray[train]", found, "the extra 'ray'", install_hint("ray")) from None
    if here:
        start_here(workers)
    trainer = TorchTrainer(
        worker,
        train_loop_config={"words": words, "folder": str(Path.cwd())},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            name="foundationx",
            storage_path=str(storage.absolute()),
            failure_config=FailureConfig(max_failures=restarts),
        ),
    )
    trainer.fit()


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m foundationx.apps.launch.ray_train", description=__doc__)
    parser.add_argument("--workers", type=int, required=True, help="number of workers")
    parser.add_argument("--here", action="store_true", help="start Ray on this machine alone (default: join a cluster)")
    parser.add_argument("--gpus", action="store_true", help="one GPU per worker (default: none, on the CPU)")
    parser.add_argument("--restarts", type=int, default=100, help="how often a failed run is started again")
    parser.add_argument("--storage", type=Path, default=Path("work_dirs/ray"), help="folder for Ray's own records")
    parser.add_argument("words", nargs="+", metavar="...", help="arguments of foundationx train, behind --")
    options = parser.parse_args(arguments)
    launch(
        options.words,
        options.workers,
        gpus=options.gpus,
        restarts=options.restarts,
        storage=options.storage,
        here=options.here,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
