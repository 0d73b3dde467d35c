"""When checkpoints are written, which of them stay, and what happens where the disk does not take one."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from foundationx.core.config.run import RuntimeConfig
from foundationx.core.errors import CheckpointError
from foundationx.engine.checkpoint import prune_checkpoints, save_checkpoint
from foundationx.engine.hooks import Incident


class CheckpointManager:
    """Keeps the newest checkpoints of a run, and those of the steps at which a head was best.

    Args:
        folder: for checkpoints.
        config: how often they are written and how many stay.

    Attributes:
        best_steps: steps whose checkpoints stay; set by whoever evaluates.
        saved_step: step of the newest checkpoint on the disk, None where there is none.
    """

    def __init__(self, folder: Path, config: RuntimeConfig):
        self.folder, self.config = folder, config
        self.best_steps: Collection[int] = ()
        self.saved_step: int | None = None
        self.start_clock(0)

    def start_clock(self, step: int) -> None:
        """The next checkpoint is due so many steps or minutes from here."""
        self._tried_step, self._tried_at = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        """So many steps or minutes have gone by since the last checkpoint, or since it failed."""
        every, minutes = self.config.checkpoint_every, self.config.checkpoint_minutes
        by_step = every is not None and step - self._tried_step >= every
        return by_step or (minutes is not None and time.monotonic() - self._tried_at >= 60 * minutes)

    def save(self, step: int, state: dict[str, Any], final: bool) -> Incident | None:
        """Writes a checkpoint of ``step`` and removes old ones.

        Where the disk does not take it, nothing is removed and the fault is returned: the next save tries again.

        Args:
            step: steps done.
            state: the other arguments of ``save_checkpoint``.
            final: a fault is an error.

        Raises:
            CheckpointError: a ``final`` checkpoint cannot be written.
        """
        self.start_clock(step)
        try:
            save_checkpoint(self.folder, step=step, **state)
        except CheckpointError as error:
            if final:
                raise
            message = f"{error.where}: {error.found}; training goes on, the next save tries again"
            return Incident(step, "io", message)
        self.saved_step = step
        prune_checkpoints(self.folder, self.config.keep_checkpoints, self.best_steps)
        return None
