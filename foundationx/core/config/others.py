"""A configuration that came out of somebody's file, as it may be used: data, which builds and opens nothing else."""

from __future__ import annotations

from typing import Any

from foundationx.core.config.backbones import known_backbone, without_sources
from foundationx.core.config.run import RunConfig


def as_data(config: RunConfig, where: str, *, allow_code: bool = False) -> RunConfig:
    """The configuration without anything that runs code, or reads or writes files other than datasets.

    The backbone is checked against the list of known ones; ``init_cfg`` and ``pretrained`` are dropped: the weights are
    in the file. So are the paths ``model.init``, ``model.init_run``, ``split.file``, ``split.record``, ``exclude`` and
    ``runtime.cache``, which belong to the machine of whoever wrote the file.

    Args:
        config: Configuration of a checkpoint, import or export.
        where: The file, for messages.
        allow_code: Also accept a backbone that is not on the list, and nested types of any kind in it.

    Raises:
        ConfigError: The backbone is not on the list, or an argument is unknown, of another type or out of its range.
    """
    stored = config.model.backbone
    backbone = without_sources(stored) if allow_code else known_backbone(stored, f"{where}: model.backbone")
    starts: dict[str, Any] = {"init": None, "init_heads": {}, "init_run": None}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"backbone": backbone, **starts}),
            "split": config.split.model_copy(update={"file": None, "record": None}),
            "exclude": None,
            "runtime": config.runtime.model_copy(update={"cache": None}),
        }
    )
