"""What training resumes from: written whole or not at all (``durable.py``), read without unpickling code."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.types import TaskKey
from foundationx.engine.atomic_write import CHECKSUM, PARTIAL, fault_of, remove, write_durably
from foundationx.models.foundation_model import FoundationModel

FORMAT = 3


@dataclass
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: of the run that wrote it.
        classes: class names of each head.
        step: steps done; ``visit`` visits finished.
        student, teacher: state dicts; ``optimizer`` likewise.
        progress: what the loop needs to go on inside a visit as if nothing had been (losses summed up so far).
    """

    config: RunConfig
    classes: dict[TaskKey, tuple[str, ...]]
    step: int
    visit: int
    student: dict[str, torch.Tensor]
    teacher: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    progress: dict[str, Any]

    def model(self, which: str = "teacher") -> FoundationModel:
        """The student or the teacher, built from the checkpoint alone, in evaluation mode.

        Raises:
            CheckpointError: ``which`` is neither.
        """
        if which not in ("student", "teacher"):
            raise CheckpointError("model", f"found {which!r}", "student or teacher")
        model = FoundationModel(self.config.model, self.classes)
        model.load_state_dict(getattr(self, which), strict=True)
        return model.eval()


def save_checkpoint(
    folder: Path,
    *,
    config: RunConfig,
    model: FoundationModel,
    teacher: FoundationModel,
    optimizer: dict[str, Any],
    step: int,
    visit: int,
    progress: dict[str, Any],
) -> Path:
    """Writes ``step_XXXXXXXX.pt`` and its checksum; what was there before is untouched until the new file is verified.

    Raises:
        CheckpointError: the disk is full or broken; nothing is left behind.
    """
    for leftover in folder.glob(f"*{PARTIAL}"):  # of a run that was killed while writing
        leftover.unlink(missing_ok=True)
    path = folder / f"step_{step:08d}.pt"
    content = {
        "format": FORMAT,
        "config": json.dumps(config.model_dump(mode="json")),
        "classes": {str(key): list(names) for key, names in model.classes.items()},
        "step": step,
        "visit": visit,
        "student": model.state_dict(),
        "teacher": teacher.state_dict(),
        "optimizer": optimizer,
        "progress": progress,
    }
    write_durably(path, lambda stream: torch.save(content, stream))
    return path


def prune_checkpoints(folder: Path, keep: int, best: Collection[int] = ()) -> None:
    """Removes all but the newest ``keep`` checkpoints and those of the steps named in ``best``."""
    for old in sorted(folder.glob("step_*.pt"))[:-keep]:
        if step_of(old) not in best:
            remove(old)
    for orphan in folder.glob(f"step_*{CHECKSUM}"):
        if not orphan.with_suffix(".pt").exists():
            orphan.unlink(missing_ok=True)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.stem.removeprefix("step_"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint, or the newest of a work directory.

    Raises:
        CheckpointError: there is none, it is torn or not as it was written, or it is not one of ours.
    """
    path = newest_checkpoint(path) if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(str(path), "there is no such file", "a checkpoint (step_*.pt) or a work directory")
    fix = "use an older checkpoint of the same folder"
    if fault := fault_of(path):
        raise CheckpointError(str(path), fault, "the file as it was written", fix)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(str(path), f"cannot be read ({type(error).__name__})", "a whole file", fix) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(str(path), "is not a foundationx checkpoint of this version", f"format {FORMAT}")
    return Checkpoint(
        config=parse_config(json.loads(content["config"]), str(path)),
        classes={TaskKey.parse(key): tuple(names) for key, names in content["classes"].items()},
        **{name: content[name] for name in ("step", "visit", "student", "teacher", "optimizer", "progress")},
    )


def newest_good_checkpoint(folder: Path) -> tuple[Checkpoint, list[CheckpointError]]:
    """The newest checkpoint of a work directory that can be read, and what is wrong with the newer ones.

    Raises:
        CheckpointError: there is none, or none can be read.
    """
    faults: list[CheckpointError] = []
    for path in reversed(checkpoints_in(folder)):
        try:
            return load_checkpoint(path), faults
        except CheckpointError as error:
            faults.append(error)
    if not faults:
        raise _no_checkpoint(folder)
    found = "; ".join(f"{error.where}: {error.found}" for error in faults)
    raise CheckpointError(str(folder), f"no checkpoint can be read: {found}", "a whole file", "train anew")


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a work directory or its ``checkpoints`` folder.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints_in(folder)
    if not found:
        raise _no_checkpoint(folder)
    return found[-1]


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoints of a work directory or its ``checkpoints`` folder, oldest first."""
    found = [*folder.glob("step_*.pt"), *folder.glob("checkpoints/step_*.pt")]
    return sorted(found, key=lambda path: path.name)


def _no_checkpoint(folder: Path) -> CheckpointError:
    return CheckpointError(str(folder), "holds no checkpoint", "a file step_*.pt", "train first")
