"""What training resumes from: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foundationx.config import RunConfig
from foundationx.configfile import parse_config
from foundationx.errors import CheckpointError
from foundationx.model import FoundationModel
from foundationx.types import TaskKey

FORMAT = 1


@dataclass
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: of the run that wrote it.
        classes: class names of each head.
        step: steps done; ``visit`` visits finished.
        student, teacher: state dicts; ``optimiser`` likewise.
        patients: split of every patient, so that validation stays validation.
    """

    config: RunConfig
    classes: dict[TaskKey, tuple[str, ...]]
    step: int
    visit: int
    student: dict[str, torch.Tensor]
    teacher: dict[str, torch.Tensor]
    optimiser: dict[str, Any]

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
    keep: int,
    *,
    config: RunConfig,
    model: FoundationModel,
    teacher: FoundationModel,
    optimiser: torch.optim.Optimizer,
    step: int,
    visit: int,
) -> Path:
    """Writes ``step_XXXXXXXX.pt`` under another name, flushes, renames; then removes all but the newest ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:08d}.pt"
    temporary = path.with_suffix(".partial")
    content = {
        "format": FORMAT,
        "config": json.dumps(config.model_dump(mode="json")),
        "classes": {str(key): list(names) for key, names in model.classes.items()},
        "step": step,
        "visit": visit,
        "student": model.state_dict(),
        "teacher": teacher.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with open(temporary, "wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    for old in sorted(folder.glob("step_*.pt"))[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint, or the newest of a work directory.

    Raises:
        CheckpointError: there is none, it is torn, or it is not one of ours.
    """
    path = newest_checkpoint(path) if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(str(path), "there is no such file", "a checkpoint (step_*.pt) or a work directory")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        mend = "use an older checkpoint of the same folder"
        raise CheckpointError(str(path), f"cannot be read ({type(error).__name__})", "a whole file", mend) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(str(path), "is not a foundationx checkpoint of this version", f"format {FORMAT}")
    return Checkpoint(
        config=parse_config(json.loads(content["config"]), str(path)),
        classes={TaskKey.parse(key): tuple(names) for key, names in content["classes"].items()},
        **{name: content[name] for name in ("step", "visit", "student", "teacher", "optimiser")},
    )


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a work directory or its ``checkpoints`` folder.

    Raises:
        CheckpointError: there is none.
    """
    found = sorted([*folder.glob("step_*.pt"), *folder.glob("checkpoints/step_*.pt")])
    if not found:
        raise CheckpointError(str(folder), "holds no checkpoint", "a file step_*.pt", "train first")
    return found[-1]
