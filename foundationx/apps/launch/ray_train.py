"""Ray Train (the extra ``ray``): ``python -m foundationx.apps.launch.ray_train --workers N -- CONFIG --data-root DIR``.

Every worker runs ``foundationx train`` with the arguments behind ``--``; Ray has joined them to a process group, which
the command finds. A worker that dies is started again with the others, and the run goes on from its last checkpoint.
The work directory has to be on storage that all machines see.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from foundationx.core.distribution import install_hint
from foundationx.core.errors import ConfigError


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


def launch(words: list[str], workers: int, *, gpus: bool, restarts: int, storage: Path) -> None:
    """Trains with Ray's ``TorchTrainer``.

    Args:
        words: Arguments of ``foundationx train``.
        workers: Number of workers, over all machines of the cluster.
        gpus: One GPU per worker.
        restarts: How often a failed run is started again.
        storage: Folder for Ray's own records; ours go to the work directory.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        found = f"cannot be imported ({error})"
        raise ConfigError("ray[train]", found, "the extra 'ray'", install_hint("ray")) from None
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
    parser.add_argument("--gpus", action="store_true", help="one GPU per worker (default: none, on the CPU)")
    parser.add_argument("--restarts", type=int, default=100, help="how often a failed run is started again")
    parser.add_argument("--storage", type=Path, default=Path("work_dirs/ray"), help="folder for Ray's own records")
    parser.add_argument("words", nargs="+", metavar="...", help="arguments of foundationx train, behind --")
    options = parser.parse_args(arguments)
    launch(options.words, options.workers, gpus=options.gpus, restarts=options.restarts, storage=options.storage)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
