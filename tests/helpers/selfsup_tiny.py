"""Objectives at the size of tests, and a run of one."""

from pathlib import Path

from foundationx.core.config.load import load_config

CONFIG = Path(__file__).parent / "tiny_selfsup.py"
OBJECTIVES = {
    "adam": {"size": 64, "hidden": 16, "output": 8, "queue": 12},
    "adam_v2": {"size": 64, "small_size": 32, "hidden": 16, "bottleneck": 8, "prototypes": 32},
    "peac": {"cells": 3, "shift": 2, "global_width": 16, "local_width": 16},
    "ace": {"cells": 4, "shift": 2, "hidden": 16, "bottleneck": 8, "prototypes": 32},
    "lamps": {"cells": 4, "shift": 2, "window": 3, "depth": 1, "hidden": 16, "bottleneck": 8, "prototypes": 32},
}


def tiny_selfsup(name, **options):
    """The configuration of a tiny run of an objective; options with ``__`` for the dots of their keys."""
    objective = {"_delete_": True, "type": name, **OBJECTIVES[name]}
    changes = {key.replace("__", "."): value for key, value in options.items()}
    return load_config(CONFIG, {"model.objective": objective} | changes)
