"""TensorBoard: curves in the folder ``tensorboard`` of the work directory, written anew when a run goes on."""

from __future__ import annotations

from typing import Any

from foundationx.apps.trackers.base import Tracker, Values


class TensorBoard(Tracker):
    """Event files: ``tensorboard --logdir work_dirs/NAME/tensorboard``."""

    extra = "tensorboard"
    writer: Any

    def load(self) -> None:
        """Imports torch's writer."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer_class = SummaryWriter

    def open(self) -> set[tuple[str, int]]:
        """Removes the event files of an earlier part of the run: its rows come again."""
        folder = self.folder.root / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.writer = self._writer_class(str(folder))
        return set()

    def add(self, values: Values, step: int) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes."""
        self.writer.close()
