"""The machine that trains, and the network that it can train."""

from __future__ import annotations

from dataclasses import dataclass

from foundationx.core.device import gpus, usable_cores

GIGABYTE = 1e9


@dataclass(frozen=True)
class Machine:
    """What a machine computes with.

    Attributes:
        cores: Processor cores.
        gpus: Name and bytes of memory of each GPU.
    """

    cores: int
    gpus: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Preset:
    """The network to begin with.

    Attributes:
        base: Preset of a recipe's ``run.base``.
        why: The reason, for the person who may choose another.
    """

    base: str
    why: str


SIZES = ((24.0, "_base_/swin_base"), (8.0, "_base_/swin_tiny"))
"""Gigabytes of a GPU from which on a network is proposed; below, and without one, ``_base_/swin_nano``."""


def this_machine() -> Machine:
    """The machine that the portal runs on."""
    return Machine(usable_cores(), tuple((gpu.name, gpu.total_memory) for gpu in gpus()))


def preset_for(machine: Machine) -> Preset:
    """The largest network that is usual on such a machine.

    A first guess by memory: ``foundationx doctor`` tries a step of every phase and says what it takes.
    """
    if not machine.gpus:
        why = f"no GPU was found; on {machine.cores} processor cores only the smallest network trains in useful time"
        return Preset("_base_/swin_nano", why)
    name, memory = min(machine.gpus, key=lambda gpu: gpu[1])
    size = memory / GIGABYTE
    for least, base in SIZES:
        if size >= least:
            return Preset(base, f"{name} has {size:.0f} GB, {least:.0f} GB or more are usual for this network")
    least = SIZES[-1][0]
    return Preset(
        "_base_/swin_nano", f"{name} has {size:.0f} GB, less than the {least:.0f} GB that larger networks want"
    )
