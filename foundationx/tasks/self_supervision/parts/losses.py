"""Losses of self-supervised objectives. Whatever comes from the teacher carries no gradient.

See ``docs/methods/self_supervision.md``, "7.5 Losses".
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.core import distributed

Measure = Literal["mse", "smooth_l1", "cosine"]
Scaling = Literal["none", "unit", "layer"]


def queue_contrast(
    query: Tensor, key: Tensor, queue: Tensor, valid: Tensor, temperature: float, prune_above: float | None
) -> Tensor:
    """InfoNCE against a queue, without its entries that look like the query.

    See ``docs/methods/self_supervision.md``, "1.1 Objective".

    Args:
        query: (B, D) unit vectors of the student.
        key: (B, D) unit vectors of the teacher, one for each query.
        queue: (K, D) unit vectors, the negatives.
        valid: (K,) bool, which entries of the queue count.
        temperature: of the softmax.
        prune_above: entries with at least this cosine to the query are no negatives of it; None keeps all.

    Returns:
        Mean over the batch. At orthogonality to everything it is log(1 + K); without negatives 0.
    """
    positive = (query * key.detach()).sum(dim=1, keepdim=True)
    negatives = query @ queue.detach().T
    left_out = ~valid.expand_as(negatives)
    if prune_above is not None:
        left_out = left_out | (negatives.detach() >= prune_above)
    logits = torch.cat([positive, negatives.masked_fill(left_out, -torch.inf)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def assignment(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's distribution over prototypes: (B, K) logits to probabilities without gradient."""
    return ((logits.detach().float() - centre) / temperature).softmax(dim=-1)


def prototype_loss(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student's (B, K) logits to the teacher's distribution.

    It is log K if the student's logits are equal. At a perfect match it is the entropy of ``target``, not 0.
    """
    return -(target * (logits.float() / temperature).log_softmax(dim=-1)).sum(dim=-1).mean()


def regress(
    prediction: Tensor,
    target: Tensor,
    measure: Measure,
    scaling: Scaling = "none",
    where: Tensor | None = None,
    together: bool = False,
) -> Tensor:
    """Distance of vectors (..., D) to the teacher's, mean over all vectors (and over D, except for the cosine).

    Args:
        prediction: Vectors of the student.
        target: Vectors of the teacher; they carry no gradient.
        measure: ``mse``, ``smooth_l1`` or ``cosine`` (1 minus it: 0 at a match, 1 at orthogonality, 2 at opposites).
        scaling: ``unit`` brings both to length 1 first, ``layer`` the target to mean 0 and variance 1.
        where: (...) bool, the vectors that count; all if None.
        together: whether all ranks call this, each with its share of a batch: the mean is over all vectors that count.

    Returns:
        A scalar; 0, part of the graph, if no vector counts.
    """
    prediction, target = prediction.float(), target.detach().float()
    if scaling == "unit":
        prediction, target = F.normalize(prediction, dim=-1), F.normalize(target, dim=-1)
    elif scaling == "layer":
        target = F.layer_norm(target, target.shape[-1:])
    if measure == "cosine":
        distance = 1 - F.cosine_similarity(prediction, target, dim=-1)
    else:
        entries = {"mse": F.mse_loss, "smooth_l1": F.smooth_l1_loss}[measure](prediction, target, reduction="none")
        distance = entries.mean(dim=-1)
    if where is None:
        return distance.mean()
    counted = distributed.mean_count(where.sum()) if together else where.sum().clamp(min=1)
    share = distributed.batch_share(len(where), where.device) if together else 1.0  # the step multiplies by it
    return (distance * where).sum() / (counted * share)


def match_loss(logits: Tensor, target: Tensor, together: bool = False) -> Tensor:
    """Binary cross-entropy of token matches, positives and negatives weighted to equal sums.

    See ``docs/methods/self_supervision.md``, "4.3 Losses". An entry's weight is a M + (1 - a)(1 - M) with a = 1 - the
    mean target of a row that has a counterpart: the published constants are this for the published grids.

    Args:
        logits: (B, N, M).
        target: (B, N, M) in [0, 1] of ``geometry.boxes.soft_target``.
        together: whether all ranks call this, each with its share of a batch: the balance is that of all.
    """
    rows = target.sum(dim=2)
    total, matched = rows.sum(), (rows > 0).sum()
    if together:
        total, matched = distributed.all_reduce_sum(total, matched)
    balance = 1 - total / (matched.clamp(min=1) * target.shape[2])
    return balanced_bce(logits, target, balance)


def balanced_bce(logits: Tensor, target: Tensor, balance: Tensor | float) -> Tensor:
    """Binary cross-entropy with weight a M + (1 - a)(1 - M), mean over all entries; ``balance`` is a."""
    entries = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (entries * (balance * target + (1 - balance) * (1 - target))).mean()


def order_loss(logits: Tensor, order: Tensor) -> Tensor:
    """Which block does each token show: (B, N, N) logits and (B, N) orders; log N if nothing is known."""
    return F.cross_entropy(logits.flatten(0, 1).float(), order.flatten())


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, D) at (B, M) indices, each sample by its own: (B, M, D)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def mean_where(tokens: Tensor, where: Tensor) -> Tensor:
    """Mean of the tokens (B, N, D) that count, by (B, N) bool; 0 if none does. (B, D)."""
    weight = where.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
