"""Exports of a run: which checkpoint and heads, where to, and what the result tells of itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundationx.apps.run.operating_points import operating_points
from foundationx.apps.run.predict import heads_named, predicting_heads
from foundationx.core.errors import CardError, CheckpointError, ConfigError, DiskError, nearest
from foundationx.core.types import TaskKey, annotated_tasks
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import Checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of
from foundationx.weights.exports.formats import Format, Source


def best_checkpoint(folder: Path, head: str) -> Path:
    """The checkpoint at which a head was best on validation.

    Args:
        folder: Work directory of a run.
        head: The head's name; empty if the run has one head alone.

    Raises:
        CheckpointError: The run has noted no best checkpoint, or it is gone.
        ConfigError: There is no such head, or there are several and none is named.
    """
    best = WorkDir(folder).read_json("best.json", {})
    if not best:
        raise CheckpointError(
            str(folder), "holds no best.json", "the work directory of an evaluated run", "leave --best"
        )
    if not head and len(best) > 1:
        found = f"{len(best)} heads have a best checkpoint each: {', '.join(best)}"
        raise ConfigError("--best", found, "one of them", "name it: --best DATASET/TASK")
    name = head or next(iter(best))
    if name not in best:
        raise ConfigError("--best", f"found {name!r}", nearest(name, best), "name a head of the run")
    path = folder / "checkpoints" / f"step_{best[name]['step']:08d}.pt"
    if not path.is_file():
        expected = f"the checkpoint that best.json names for {name}"
        raise CheckpointError(str(path), "is not there", expected, "leave --best out")
    return path


def chosen_heads(model: FoundationModel, kind: Format, names: Sequence[str]) -> tuple[TaskKey, ...]:
    """The heads to export.

    Args:
        model: The model.
        kind: Format.
        names: Heads that the user names; none for all that the format takes.

    Raises:
        ConfigError: The format takes no heads, a head of another task is named, or there is no head that fits.
    """
    if not kind.whole:
        if names:
            fix = "leave --head, or choose a format of whole models (foundationx list formats)"
            raise ConfigError("--head", f"found {names[0]!r}", "none: the format holds the backbone alone", fix)
        return ()
    heads = heads_named(model, names) if names else predicting_heads(model)
    fitting = [key for key in heads if kind.library in ("", task_of(key.task).library)]
    wanted = " or ".join(task.value for task in annotated_tasks() if kind.library in ("", task_of(task).library))
    if not fitting or (names and len(fitting) < len(heads)):
        found = f"{', '.join(map(str, heads)) or 'no head'}"
        raise ConfigError("--head", found, f"a head of {wanted}", "choose another head or format")
    if kind.library and len(fitting) > 1:
        found = f"the model has {len(fitting)} heads of {wanted}: {', '.join(map(str, fitting))}"
        raise ConfigError("--head", found, "one of them", "name it: --head DATASET/TASK")
    return tuple(fitting)


def source_of(checkpoint: Checkpoint, path: Path, which: str, kind: Format, heads: Sequence[str]) -> Source:
    """What is exported, with thresholds of validation and codes of the classes.

    Args:
        checkpoint: Opened checkpoint.
        path: Checkpoint, work directory or folder of an import.
        which: Student or teacher.
        kind: Format.
        heads: Names of the heads; none for all that the format takes.

    Raises:
        ConfigError: As :func:`chosen_heads`.
    """
    model = checkpoint.model(which)
    keys = chosen_heads(model, kind, heads)
    points = operating_points(model, which, checkpoint.visit, path)
    chosen = {
        key: {name: value for name, value in points.values[key].items() if name in points.chosen.get(key, ())}
        for key in keys
    }
    return Source(model, checkpoint.config, which, keys, chosen, {key: _codes(key) for key in keys})


def _codes(key: TaskKey) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Codes of a head's classes, as far as its card gives them."""
    try:
        tasks = Catalog().card(key.dataset).tasks
    except CardError:
        return {}
    task = tasks.get(key.task)
    if task is None:
        return {}
    return {item.name: codes for item in task.classes if (codes := task.codes(item))}


def default_path(config_name: str, which: str, kind: Format) -> Path:
    """File or folder of an export if the user names none: by run, model and format."""
    return Path(f"{re.sub(r'[^A-Za-z0-9._-]+', '_', config_name)}_{which}{kind.suffix}")


def require_new(path: Path, overwrite: bool) -> None:
    """Makes sure that nothing is overwritten silently.

    Args:
        path: File or folder to write.
        overwrite: Whether what is there is removed.

    Raises:
        DiskError: Something is there, and ``overwrite`` is false.
    """
    there = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if not there:
        return
    if not overwrite:
        raise DiskError(str(path), "exists", "a path at which nothing is", "choose another --out, or --overwrite")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
