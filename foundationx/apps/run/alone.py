"""Plain runs beside a joint one: a model for every head, to tell what training together was worth.

Each has the joint run's network, views, optimizer, patients and seed, and its own head's number of steps; there is
nothing else in it: no other head, no lock phases, no consistency.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foundationx.apps.run.train import train
from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig, SplitConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.types import MetricRow, TaskKey, all_tasks
from foundationx.core.workdir import WorkDir
from foundationx.data.patient_splits import SPLITS
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, best_trivial


def alone_folder(joint: Path, key: TaskKey) -> Path:
    """Work directory of one head's plain run, beside the joint run's."""
    return joint.parent / f"{joint.name}_alone" / f"{key.dataset}.{key.task.value}"


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: it is trained, evaluated, reported and exported."""
    return bool(WorkDir(folder).read_json("run.json", {}).get("complete"))


def head_steps(joint: Path) -> dict[TaskKey, int]:
    """Steps of each annotated head of a run, as ``plan.json`` has them.

    Raises:
        CheckpointError: There is no plan.
    """
    steps: dict[TaskKey, int] = {}
    for visit in WorkDir(joint).read_json("plan.json", {}).get("visits", []):
        key = TaskKey.parse(f"{visit['dataset']}/{visit['task']}")
        if key.task.facts.needs_annotations:
            steps[key] = steps.get(key, 0) + sum(phase["steps"] for phase in visit["phases"])
    if not steps:
        raise CheckpointError(str(joint), "holds no plan of heads", "the work directory of a run", "train it first")
    return steps


def alone_configs(joint: Path, factor: float = 1.0) -> dict[TaskKey, RunConfig]:
    """Configuration of each head's plain run.

    Args:
        joint: Work directory of the joint run.
        factor: Steps of a plain run as a multiple of those that the joint run gives the head.

    Raises:
        CheckpointError: The joint run has no plan or no configuration.
        ConfigError: Its configuration is of another version.
    """
    stored = WorkDir(joint).read_json("config.json", {})
    if not stored:
        raise CheckpointError(str(joint), "holds no config.json", "the work directory of a run", "train it first")
    config = parse_config(stored, str(joint / "config.json"))
    split = config.split.model_copy(update={"file": None, "record": joint / SPLITS, "changes": "keep"})
    return {
        key: alone_config(config, key, max(1, round(count * factor)), split) for key, count in head_steps(joint).items()
    }


def alone_config(config: RunConfig, key: TaskKey, steps: int, split: SplitConfig) -> RunConfig:
    """The configuration of a head's plain run.

    Args:
        config: Configuration of the joint run.
        key: The head.
        steps: Its steps.
        split: Where its patients are.
    """
    dataset = next(dataset for dataset in config.datasets if dataset.card == key.dataset)
    schedule = config.schedule.model_copy(
        update={
            "type": "cyclic",
            "order": "fixed",
            "temperature": 1.0,
            "cap": None,
            "lock": dict.fromkeys(all_tasks(), 0.0),
            "release": dict.fromkeys(all_tasks(), 1.0),
            "steps": {str(key): steps},
            "max_steps": None,
            "reuse": None,
        }
    )
    changes = {
        "name": f"{key.dataset}.{key.task.value}",
        "datasets": (dataset.model_copy(update={"tasks": (key.task,)}),),
        "schedule": schedule,
        "federation": None,
        "allow_test": tuple(name for name in config.allow_test if name == key.dataset),
        "split": split,
        "model": config.model.model_copy(update=_model_changes(config, key)),
        "consistency": config.consistency.model_copy(update={"weight": 0.0}),
    }
    return config.model_copy(update=changes)


def _model_changes(config: RunConfig, key: TaskKey) -> dict[str, object]:
    """What a network of one head cannot have of the joint one's settings."""
    heads = {name: stored for name, stored in config.model.init_heads.items() if name == str(key)}
    softmax = tuple(name for name in config.model.softmax if name == str(key))
    return {"init_heads": heads, "softmax": softmax, "shared_head": False, "region_gate": None}


def train_alone(joint: Path, data_root: Path, factor: float = 1.0) -> bool:
    """Trains each head's plain run, or goes on with it; finished ones are left as they are.

    Args:
        joint: Work directory of the joint run, which is finished.
        data_root: Folder that holds the datasets.
        factor: Steps of a plain run as a multiple of those that the joint run gives the head.

    Returns:
        Whether all have come to their end; False if training was asked to stop.

    Raises:
        FoundationXError: Anything that the user can fix.
    """
    for key, config in alone_configs(joint, factor).items():
        folder = alone_folder(joint, key)
        if not is_finished(folder) and not train(config, data_root, folder):
            return False
    return True


@dataclass(frozen=True)
class Beside:
    """A head's headline metric, mean over classes, alone and in the joint run, and without looking at the images."""

    head: TaskKey
    metric: str
    split: str
    model: str
    trivial: float | None
    alone: float | None
    joint: float | None
    folder: Path


def beside_alone(joint: Path) -> list[Beside]:
    """The last evaluation of every head of a joint run and of its plain run; test if there is one, else validation.

    Args:
        joint: Work directory of the joint run.
    """
    together, rows = WorkDir(joint).read_metrics(), []
    for key in head_steps(joint):
        folder = alone_folder(joint, key)
        own = WorkDir(folder).read_metrics()
        split = next((name for name in ("test", "val") if _last(together, key, name, None) is not None), "test")
        trivial = best_trivial(together, key, split)
        for model in ("student", "teacher"):
            alone, with_others = (_last(of_run, key, split, model) for of_run in (own, together))
            rows.append(Beside(key, key.task.facts.headline, split, model, trivial, alone, with_others, folder))
    return rows


def _last(rows: Iterable[MetricRow], key: TaskKey, split: str, model: str | None) -> float | None:
    """Value of the headline metric after the last visit that was evaluated."""
    wanted = (key.dataset, key.task.value, key.task.facts.headline, MEAN, split)
    own = [row for row in rows if (row.dataset, row.task, row.metric, row.class_name, row.split) == wanted]
    trained = [row for row in own if row.visit > 0 and model in (None, row.model) and row.model not in (TRIVIAL, EMPTY)]
    return max(trained, key=lambda row: row.visit).value if trained else None
