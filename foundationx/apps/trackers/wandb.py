"""Weights & Biases: offline in the folder ``wandb`` of the work directory, unless WANDB_MODE says ``online``."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import Any

from foundationx.apps.trackers.base import Tracker, Values
from foundationx.core.atomic_write import write_atomically

PROJECT = "foundationx"
"""Project of a run unless WANDB_PROJECT names one."""


class WeightsAndBiases(Tracker):
    """A run that ``wandb sync work_dirs/NAME/wandb/offline-run-*`` uploads."""

    extra = "wandb"
    run: Any

    def load(self) -> None:
        """Imports the library."""
        import wandb

        self._library = wandb

    def open(self) -> set[tuple[str, int]]:
        """Begins the run, or goes on under its name.

        Offline, the earlier part is removed if it has not been uploaded: its rows come again. Online, the server knows
        its last step and passes over what comes again.
        """
        os.environ.setdefault("WANDB_MODE", "offline")
        identity = self._identity()
        for old in (self.folder.root / "wandb").glob(f"offline-run-*-{identity}"):
            if not list(old.glob("*.synced")):
                shutil.rmtree(old)
        self.run = self._library.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.config.name,
            id=identity,
            dir=str(self.folder.root),
            resume="allow",
            config=self.config.model_dump(mode="json"),
            settings=self._library.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )
        return set()

    def _identity(self) -> str:
        """The run's name on the server, which stays when the run goes on."""
        path = self.folder.root / "wandb_run.txt"
        identity = path.read_text().strip() if path.is_file() else ""
        if not identity.isalnum():
            identity = uuid.uuid4().hex[:16]
            write_atomically(path, identity + "\n")
        return identity

    def add(self, values: Values, step: int) -> None:
        """Adds a row."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Writes the rest."""
        self.run.finish()
