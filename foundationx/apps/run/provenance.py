"""Where a run comes from: commit, versions, machine, and the cards of its datasets with their licences."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from foundationx.core.config.run import RunConfig
from foundationx.core.device import gpus, usable_cores
from foundationx.datasets.cards.catalog import Catalog

PACKAGES = (
    *("torch", "torchvision", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"),
    *("transformers", "numpy"),
)
"""Distributions whose version is noted if they are installed."""


def provenance(config: RunConfig) -> dict[str, Any]:
    """What ``run.json`` holds of a run's origin: commit, seed, machine, packages, cards."""
    return {
        "commit": commit_of_code() or "",
        "seed": config.runtime.seed,
        "machine": machine(),
        "packages": {"python": platform.python_version()} | _versions(),
        "cards": _cards(config),
    }


@cache
def commit_of_code() -> str | None:
    """The commit of the code that runs; None if it is not a clone."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> str:
    """System, processor, cores, memory in GiB and GPUs, in words."""
    parts = [f"{platform.system()} {platform.machine()}", _processor(), f"{usable_cores()} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        parts.append(f"{memory / 2**30:.0f} GiB memory")
    parts += [gpu.name for gpu in gpus()]
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    """Name of the processor; "" if the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cards(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Title, licence, access and home of each dataset, as its card states them now."""
    catalog = Catalog()
    cards = {dataset.card: catalog.card(dataset.card) for dataset in config.datasets}
    return {
        name: {"title": card.title, "licence": card.licence.name, "redistribution": card.licence.redistribution}
        | {"commercial": card.licence.commercial, "access": card.access, "home": card.home, "file": card.file.name}
        for name, card in cards.items()
    }
