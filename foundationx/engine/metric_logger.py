"""Running means of losses that stay on the device until they are read: one transfer per reading."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor


class MetricLogger:
    """Means since the last reading: losses, images per second, share of time spent waiting for data."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._finite: Tensor | None = None
        self._images = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def start_clock(self) -> None:
        """Time is counted from now on; losses added before stay."""
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    def wait(self, seconds: float) -> None:
        """So much time was spent on the next batch."""
        self._waited += seconds

    def add(self, parts: dict[str, Tensor], finite: Tensor, images: int) -> None:
        """Takes one step's detached losses.

        If ``finite`` () is false, they are left out of the means.
        """
        for name, part in parts.items():
            taken = torch.where(finite, part, torch.zeros_like(part))
            self._sums[name] = self._sums[name] + taken if name in self._sums else taken
        counted = finite.float()
        self._finite = counted if self._finite is None else self._finite + counted
        self._images += images

    def read(self) -> tuple[dict[str, float], float, float]:
        """Mean losses, images per second and waiting share since the last reading; then resets.

        Returns:
            Losses are empty if no step was added, or none with a finite loss.
        """
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        losses: dict[str, float] = {}
        if self._finite is not None:
            steps, *values = torch.stack([self._finite, *(total.float() for total in self._sums.values())]).tolist()
            if steps:
                losses = {name: value / steps for name, value in zip(self._sums, values, strict=True)}
        rate, share = self._images / elapsed, min(1.0, self._waited / elapsed)
        self._reset()
        return losses, rate, share

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a mean over steps before and after it is the mean over all."""
        return {"sums": self._sums, "finite": self._finite}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on from a checkpoint."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._finite = None if state["finite"] is None else state["finite"].to(device)
