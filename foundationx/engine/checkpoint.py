"""Checkpoints: what training resumes from, when they are written, and which of them stay.

They are written atomically (``atomic_write.py``) and read without unpickling code.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from foundationx.core import distributed
from foundationx.core.archives import unpacked_size
from foundationx.core.atomic_write import CHECKSUM, PARTIAL, fault_of, remove, write_verified
from foundationx.core.background import Background
from foundationx.core.config.load import parse_config
from foundationx.core.config.others import as_data
from foundationx.core.config.run import RunConfig, RuntimeConfig
from foundationx.core.errors import CheckpointError, ConfigError, DamagedCheckpointError, FoundationXError
from foundationx.core.strict_json import read_json, to_exact_json
from foundationx.core.types import TaskKey
from foundationx.engine.hooks import Incident
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.size_bound import at_most, check_tensors, limit_of

FORMAT = 3

FIX = "use an older checkpoint of the same folder"


@dataclass
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: Configuration of the run that wrote it.
        classes: Class names of each head.
        step: Steps done.
        visit: Number of the last finished visit.
        student, teacher, optimizer: State dicts.
        progress: What the loop needs besides to continue inside a visit (losses summed up so far ...).
        exclusion: Exclusion list that its run used; of a checkpoint that may come from others, it is not followed.
        split_file: List of splits that its run used; likewise.
    """

    config: RunConfig
    classes: dict[TaskKey, tuple[str, ...]]
    step: int
    visit: int
    student: dict[str, torch.Tensor]
    teacher: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    progress: dict[str, Any]
    exclusion: Path | None = None
    split_file: Path | None = None

    def model(self, which: str = "teacher") -> FoundationModel:
        """The student or the teacher, built from the checkpoint alone, in evaluation mode.

        Raises:
            CheckpointError: ``which`` is neither, or the network is far larger than the weights.
        """
        if which not in ("student", "teacher"):
            raise CheckpointError("model", f"found {which!r}", "student or teacher")
        weights = getattr(self, which)
        with at_most(limit_of(weights), which):
            model = FoundationModel(self.config.model, self.classes)
        try:
            model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise DamagedCheckpointError(which, first_line(error), "the weights of its own network", FIX) from error
        return model.eval()


class CheckpointManager:
    """Keeps the newest checkpoints of a run, and those of the steps at which a head was best.

    Args:
        folder: Folder for checkpoints.
        config: How often they are written and how many stay.

    Attributes:
        best_steps: Steps whose checkpoints stay; set by the evaluation.
        saved_step: Step of the newest checkpoint on the disk, or on its way; None if there is none.
    """

    def __init__(self, folder: Path, config: RuntimeConfig):
        self.folder, self.config = folder, config
        self.best_steps: Collection[int] = ()
        self.saved_step: int | None = None
        self._background = Background()
        self.start_clock(0)

    def start_clock(self, step: int) -> None:
        """Counts steps and minutes to the next checkpoint from now."""
        self._tried_step, self._tried_at = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due: enough steps or minutes have passed since the last one was tried."""
        every, minutes = self.config.checkpoint_every, self.config.checkpoint_minutes
        by_step = every is not None and step - self._tried_step >= every
        return by_step or (minutes is not None and time.monotonic() - self._tried_at >= 60 * minutes)

    def save(self, step: int, state: dict[str, Any], final: bool) -> Incident | None:
        """Writes a checkpoint of ``step`` and removes old ones.

        Several ranks do not wait for the first one to write: it copies the state to the host's memory and writes it
        while training goes on. If a checkpoint cannot be written, nothing is removed and the incident is returned, by
        this call or the next: the next save tries again.

        Args:
            step: Steps done.
            state: The other arguments of :func:`checkpoint_content`.
            final: Whether it is written now, and a checkpoint that cannot be written is an error.

        Raises:
            CheckpointError: A ``final`` checkpoint cannot be written.
        """
        self.start_clock(step)
        incident = self.finish()
        content = checkpoint_content(step=step, **state)
        if not final and distributed.world_size() > 1:
            copy = tree_map(_on_host, content)
            self.saved_step = step
            self._background.start(lambda: self._write(step, copy))
            return incident
        try:
            self._write(step, content)
        except CheckpointError as error:
            if final:
                raise
            return _not_written(step, error)
        self.saved_step = step
        return incident

    def finish(self) -> Incident | None:
        """Waits for a checkpoint that is being written; gives the incident if it could not be."""
        try:
            self._background.join()
        except CheckpointError as error:
            step, self.saved_step = self.saved_step or 0, None
            return _not_written(step, error)
        return None

    def _write(self, step: int, content: dict[str, Any]) -> None:
        """Raises CheckpointError if it cannot be written."""
        write_checkpoint(self.folder, step, content)
        prune_checkpoints(self.folder, self.config.keep_checkpoints, self.best_steps)


def _not_written(step: int, error: CheckpointError) -> Incident:
    return Incident(step, "io", f"{error.where}: {error.found}; training goes on, the next save tries again")


def _on_host(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def save_checkpoint(folder: Path, *, step: int, **state: Any) -> Path:
    """Writes a checkpoint of a state, the other arguments of :func:`checkpoint_content`. Raises CheckpointError."""
    return write_checkpoint(folder, step, checkpoint_content(step=step, **state))


def checkpoint_content(
    *,
    config: RunConfig,
    model: FoundationModel,
    teacher: FoundationModel,
    optimizer: dict[str, Any],
    step: int,
    visit: int,
    progress: dict[str, Any],
) -> dict[str, Any]:
    """What a checkpoint holds."""
    return {
        "format": FORMAT,
        "config": to_exact_json(config.model_dump(mode="json")),
        "classes": {str(key): list(names) for key, names in model.classes.items()},
        "step": step,
        "visit": visit,
        "student": model.state_dict(),
        "teacher": teacher.state_dict(),
        "optimizer": optimizer,
        "progress": progress,
    }


def write_checkpoint(folder: Path, step: int, content: dict[str, Any]) -> Path:
    """Writes ``step_XXXXXXXX.pt`` and its checksum.

    Raises:
        CheckpointError: The disk is full or broken; nothing is left behind.
    """
    for leftover in folder.glob(f"*{PARTIAL}"):  # of a run that was killed while writing
        leftover.unlink(missing_ok=True)
    path = folder / f"step_{step:08d}.pt"
    # torch.save asks its file for write() and flush() alone
    write_verified(path, lambda stream: torch.save(content, stream))  # type: ignore[arg-type]  # see above
    return path


def prune_checkpoints(folder: Path, keep: int, best: Collection[int] = ()) -> None:
    """Removes all but the newest ``keep`` checkpoints and those of the steps named in ``best``."""
    for old in [path for path in checkpoints_in(folder) if path.parent == folder][:-keep]:
        if step_of(old) not in best:
            remove(old)
    for orphan in folder.glob(f"step_*{CHECKSUM}"):
        if not orphan.with_suffix(".pt").exists():
            orphan.unlink(missing_ok=True)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.stem.removeprefix("step_"))


def load_checkpoint(path: Path, *, allow_code: bool = False) -> Checkpoint:
    """Opens a checkpoint, or the newest of a work directory, which may come from others.

    Args:
        path: Checkpoint or work directory.
        allow_code: Build whatever backbone the file names. Otherwise only known ones (``core/config/backbones.py``).

    Raises:
        CheckpointError: There is none, it is torn or not as it was written, or it is not one of ours.
        ConfigError: The configuration in it is not valid, or names a backbone that is not known.
    """
    checkpoint = read_checkpoint(path)
    stored = checkpoint.config
    config = as_data(stored, str(path), allow_code=allow_code)
    return dataclasses.replace(checkpoint, config=config, exclusion=stored.exclude, split_file=stored.split.file)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint, or the newest of a work directory, with its configuration as it was written.

    For comparing and for its weights: a network is built only from what :func:`load_checkpoint` returns.

    Raises:
        CheckpointError: There is none, it is damaged, or it is not one of ours.
    """
    path = newest_checkpoint(path) if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(str(path), "there is no such file", "a checkpoint (step_*.pt) or a work directory")
    if fault := fault_of(path):
        raise DamagedCheckpointError(str(path), fault, "the file as it was written", FIX)
    try:
        size = unpacked_size(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedCheckpointError(
            str(path), f"cannot be read ({type(error).__name__})", "a whole file", FIX
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedCheckpointError(
            str(path), "is not a foundationx checkpoint of this version", f"format {FORMAT}", FIX
        )
    check_tensors(content, size, str(path))
    return _opened(content, str(path))


def _opened(content: dict[str, Any], where: str) -> Checkpoint:
    """A checkpoint from what a file holds. Raises CheckpointError and ConfigError."""
    kinds = {"config": str, "classes": dict, "step": int, "visit": int}
    kinds |= dict.fromkeys(("student", "teacher", "optimizer", "progress"), dict)
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind):
            found = f"its entry {name!r} is {'missing' if name not in content else 'no ' + kind.__name__}"
            raise DamagedCheckpointError(where, found, "a whole checkpoint", FIX)
    for name in ("student", "teacher"):
        _check_weights(content[name], f"{where}, {name}")
    try:
        config = read_json(content["config"])
        classes = {TaskKey.parse(key): tuple(map(str, names)) for key, names in content["classes"].items()}
    except (ValueError, TypeError, AttributeError) as error:
        found = f"its configuration or classes make no sense ({error})"
        raise DamagedCheckpointError(where, found, "a whole checkpoint", FIX) from error
    if not isinstance(config, dict):
        found = f"its configuration is a {type(config).__name__}"
        raise DamagedCheckpointError(where, found, "a JSON object", FIX)
    rest = {name: content[name] for name in ("step", "visit", "student", "teacher", "optimizer", "progress")}
    return Checkpoint(config=parse_config(config, where), classes=classes, **rest)


def _check_weights(state: dict[str, Any], where: str) -> None:
    """Raises DamagedCheckpointError: a state dict holds something else than tensors, or numbers that are not finite."""
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            raise DamagedCheckpointError(where, f"{name!r} is no tensor", "weights", FIX)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            found = f"{name} holds numbers that are not finite"
            raise DamagedCheckpointError(where, found, "finite weights", FIX)


def first_line(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def newest_good_checkpoint(
    folder: Path, use: Callable[[Checkpoint], object] = lambda checkpoint: None
) -> tuple[Checkpoint, list[FoundationXError]]:
    """The newest checkpoint of a work directory that can be used, and what is wrong with the newer ones.

    Args:
        folder: Work directory or its ``checkpoints`` folder.
        use: Loads a checkpoint; one that turns out to be damaged only then is passed over too.

    Raises:
        CheckpointError: There is none, or none can be used.
    """
    faults: list[FoundationXError] = []
    for path in reversed(checkpoints_in(folder)):
        try:
            checkpoint = read_checkpoint(path)
            use(checkpoint)
        except (DamagedCheckpointError, ConfigError) as error:
            faults.append(error)
        else:
            return checkpoint, faults
    raise _unreadable(folder, faults)


def _unreadable(folder: Path, faults: Sequence[FoundationXError]) -> CheckpointError:
    """The error of a folder none of whose checkpoints can be used: what is wrong with each."""
    if not faults:
        return _no_checkpoint(folder)
    found = "; ".join(f"{error.where}: {error.found}" for error in faults)
    return CheckpointError(
        str(folder), f"no checkpoint can be read: {found}", "a complete file", "train from the beginning"
    )


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a work directory or its ``checkpoints`` folder.

    Raises:
        CheckpointError: There is none.
    """
    checkpoints = checkpoints_in(folder)
    if not checkpoints:
        raise _no_checkpoint(folder)
    return checkpoints[-1]


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoints of a work directory or its ``checkpoints`` folder, oldest first."""
    found = [*folder.glob("step_*.pt"), *folder.glob("checkpoints/step_*.pt")]
    found = [path for path in found if path.stem.removeprefix("step_").isdecimal()]
    return sorted(found, key=lambda path: path.name)


def _no_checkpoint(folder: Path) -> CheckpointError:
    return CheckpointError(str(folder), "holds no checkpoint", "a file step_*.pt", "train first")
