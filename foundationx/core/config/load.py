"""Reads configuration files.

They are Python in OpenMMLab's habit (``mmengine.Config``: ``_base_`` files, ``--cfg-options``): code, and run as code.
What they define is checked against ``run.py``: a fault is a ConfigError that names the file and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.resources import find_config
from foundationx.core.validation import validation_error


def parse_config(values: dict[str, Any], source: str) -> RunConfig:
    """Checks a plain dictionary. Raises ConfigError naming ``source`` and the key."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise validation_error(error, RunConfig, source, ConfigError) from None


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> RunConfig:
    """Reads a Python configuration file, with ``--cfg-options`` laid over it.

    Raises:
        ConfigError: the file is missing, is not valid Python, or a key or value is wrong.
    """
    from foundationx.core.openmmlab import Config

    path = find_config(path)

    try:
        loaded = Config.fromfile(str(path))
        loaded.merge_from_dict(options or {})
        values = {key: value for key, value in loaded.to_dict().items() if not key.startswith("_")}
    except Exception as error:
        found, fix = f"{type(error).__name__}: {error}", "correct the file or --cfg-options"
        raise ConfigError(str(path), found, "a valid configuration file", fix) from error
    return parse_config(values, str(path))
