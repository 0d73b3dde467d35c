"""The training log on disk, and TensorBoard where it is asked for."""

from __future__ import annotations

import json

from foundationx.engine.events import LogRecord, Watcher
from foundationx.errors import ConfigError
from foundationx.schedule.plan import Plan
from foundationx.workdir import WorkDir, write_atomically


class JsonLog(Watcher):
    """Writes ``log.jsonl``, a row a record. Rows from after the step a run goes on from are removed first."""

    def __init__(self, work_dir: WorkDir):
        self.work_dir = work_dir

    def on_start(self, plan: Plan, step: int) -> None:
        """Keeps the rows up to ``step``."""
        kept = [json.dumps(row) for row in self.work_dir.read_log() if row["step"] <= step]
        write_atomically(self.work_dir.log, "".join(line + "\n" for line in kept))

    def on_log(self, record: LogRecord) -> None:
        """Adds a row."""
        with open(self.work_dir.log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record.as_json()) + "\n")


class TensorBoardLog(Watcher):
    """Scalars by task and dataset.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(self, work_dir: WorkDir):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            found, mend = "tensorboard is not installed", "pip install 'foundationx[tensorboard]'"
            raise ConfigError("runtime.tensorboard", found, mend=mend) from None
        self.writer = SummaryWriter(str(work_dir.root / "tensorboard"))

    def on_log(self, record: LogRecord) -> None:
        """Adds the record's losses, learning rate and speed."""
        for name, value in record.losses.items():
            self.writer.add_scalar(f"{record.phase.key}/{name}", value, record.step)
        self.writer.add_scalar("run/lr", record.lr, record.step)
        self.writer.add_scalar("run/images_per_second", record.images_per_second, record.step)

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Flushes."""
        self.writer.close()
