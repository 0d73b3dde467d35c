"""Running means of losses that stay on the device until they are read: one transfer a reading."""

from __future__ import annotations

import time

import torch
from torch import Tensor


class Meter:
    """Means since the last reading: losses, images a second, share of time spent waiting for data."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def add(self, parts: dict[str, Tensor], images: int, waited: float) -> None:
        """Takes one step's detached losses; ``waited`` seconds were spent on the next batch."""
        for name, part in parts.items():
            self._sums[name] = self._sums[name] + part if name in self._sums else part
        self._steps += 1
        self._images += images
        self._waited += waited

    def read(self) -> tuple[dict[str, float], float, float]:
        """Mean losses, images a second and waiting share since the last reading; starts anew.

        Returns:
            Empty losses where no step was added.
        """
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        losses: dict[str, float] = {}
        if self._steps:
            values = torch.stack([total.float() for total in self._sums.values()]).tolist()
            losses = {name: value / self._steps for name, value in zip(self._sums, values, strict=True)}
        rate, share = self._images / elapsed, min(1.0, self._waited / elapsed)
        self.__init__()
        return losses, rate, share
