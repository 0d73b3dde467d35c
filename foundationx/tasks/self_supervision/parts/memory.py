"""What an objective remembers between steps: a queue of keys and a centre, as buffers, so that runs resume exactly.

Both change in training only. With several ranks they hold what all of them saw.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundationx.core import distributed


class Queue(nn.Module):
    """The last keys of the teacher, first in, first out.

    Args:
        size: keys it holds, K.
        features: of a key, D.
        prefilled: begins with K random unit vectors (as released), else empty.
    """

    same_on_all_ranks = True
    keys: Tensor
    next: Tensor
    filled: Tensor
    stage: Tensor

    def __init__(self, size: int, features: int, prefilled: bool):
        super().__init__()
        keys = nn.functional.normalize(torch.randn(size, features), dim=1)
        self.register_buffer("keys", keys)
        self.register_buffer("next", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.tensor(size if prefilled else 0))
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))

    def read(self) -> Tensor:
        """(K, D): a copy, for the backward pass still needs them when the next keys have come in."""
        return self.keys.clone()

    @property
    def valid(self) -> Tensor:
        """(K,) bool: which entries are keys."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.filled

    @torch.no_grad()
    def enter(self, stage: int) -> None:
        """Empties the queue if the stage has changed: its keys are no negatives of what comes."""
        same = self.stage == stage
        self.filled.mul_(same)
        self.next.mul_(same)
        self.stage.fill_(stage)

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Puts (B, D) keys, and those of the other ranks, in place of the oldest."""
        keys = all_rows(keys.detach().float())[-len(self.keys) :]
        slots = (self.next + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[slots] = keys
        self.next.copy_((self.next + len(keys)) % len(self.keys))
        self.filled.copy_((self.filled + len(keys)).clamp(max=len(self.keys)))


class Centre(nn.Module):
    """The running mean of the teacher's logits, so that no prototype wins everywhere.

    See ``docs/methods/self_supervision.md``, "2.3 Heads and losses".

    Args:
        count: prototypes, K.
        momentum: of the old mean.
    """

    same_on_all_ranks = True
    mean: Tensor

    def __init__(self, count: int, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(count))

    @torch.no_grad()
    def follow(self, logits: Tensor) -> None:
        """Moves towards the mean of (B, K) logits of all ranks."""
        rows = torch.tensor(float(len(logits)), device=logits.device)
        total, count = distributed.all_reduce_sum(logits.detach().float().sum(dim=0), rows)
        self.mean.lerp_(total / count, 1 - self.momentum)


def all_rows(rows: Tensor) -> Tensor:
    """The rows (B, D) of all ranks, in the order of the ranks, on each of them."""
    if distributed.world_size() == 1:
        return rows
    counts = distributed.all_gather_object(len(rows))
    before = sum(counts[: distributed.rank()])
    everyone = rows.new_zeros(sum(counts), rows.shape[1])
    everyone[before : before + len(rows)] = rows
    return distributed.all_reduce_sum(everyone)[0]
