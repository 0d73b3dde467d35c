"""Reads configuration files.

They are Python in OpenMMLab's habit (``mmengine.Config``: ``_base_`` files, ``--cfg-options``): code, and run as code.
What they define is checked against ``config.py``: a fault is a ConfigError that names the file and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foundationx.core.config.model import Section
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError, nearest


def parse_config(values: dict[str, Any], source: str) -> RunConfig:
    """Checks a plain dictionary. Raises ConfigError naming ``source`` and the key."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise _explain(error, source) from None


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> RunConfig:
    """Reads a Python configuration file, with ``--cfg-options`` laid over it.

    Raises:
        ConfigError: the file is missing, is not valid Python, or a key or value is wrong.
    """
    from foundationx.core import compat  # noqa: F401  (silences mm* start-up noise; must come before mmengine)

    path = Path(path)
    if not path.is_file():
        raise ConfigError(str(path), "there is no such file", "a Python configuration file", "check the path")
    from mmengine.config import Config

    try:
        loaded = Config.fromfile(str(path))
        loaded.merge_from_dict(options or {})
        values = {key: value for key, value in loaded.to_dict().items() if not key.startswith("_")}
    except Exception as error:
        raise ConfigError(str(path), f"{type(error).__name__}: {error}", "a valid configuration file") from error
    return parse_config(values, str(path))


def _explain(error: ValidationError, source: str) -> ConfigError:
    """The first fault of a pydantic error, in our words."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]  # a misspelt key first: it explains why another one is missing
    key = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
    where = f"{source}: {key}"
    if fault["type"] == "extra_forbidden":
        known = _fields_at(fault["loc"][:-1])
        return ConfigError(where, "unknown key", nearest(str(fault["loc"][-1]), known), "correct or remove it")
    found = "" if fault["type"] == "missing" else f"found {fault['input']!r}"
    return ConfigError(where, found or "is missing", fault["msg"], "correct the value")


def _fields_at(location: tuple) -> list[str]:
    """Names of the keys that the section at ``location`` knows."""
    section: Any = RunConfig
    for part in location:
        if isinstance(part, int):
            continue
        field = getattr(section, "model_fields", {}).get(part)
        section = _section_of(field.annotation) if field else None
        if section is None:
            return []
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    """The Section inside an annotation such as ``ProjectorConfig | None`` or ``tuple[DatasetConfig, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if (found := _section_of(part)) is not None:
            return found
    return None
