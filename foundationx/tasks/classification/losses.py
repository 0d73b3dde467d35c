"""Cross-entropies for tri-state labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from foundationx.core import distributed


def masked_bce(logits: Tensor, labels: Tensor, count: str | None = None) -> Tensor:
    """Binary cross-entropy, mean over the entries whose label is known.

    Args:
        logits: any shape.
        labels: the same shape, in [0, 1]; NaN is unknown and gives exactly zero gradient.
        count: Name under which ``Head.counts`` has the number of known labels.

    Returns:
        A scalar; 0 (still part of the graph) if nothing is known. Its mean over ranks is that over all entries.
    """
    known = ~labels.isnan()
    # Replacing before computing keeps NaN out of the backward pass; masking the result alone would not.
    entries = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0).to(logits.dtype), reduction="none")
    return (entries * known).sum() / distributed.mean_count(known.sum(), count)


def masked_ce(logits: Tensor, labels: Tensor, count: str | None = None) -> Tensor:
    """Cross-entropy over classes that exclude each other, mean over the images whose label is known.

    Args:
        logits: (B, K).
        labels: (B, K) in [0, 1]. An image counts if all its labels are known and some class is present; several
            present or soft labels share the target.
        count: Name under which ``Head.counts`` has the number of images that count.

    Returns:
        A scalar; 0 (still part of the graph) if nothing is known.
    """
    target = labels.nan_to_num(0.0).to(logits.dtype)
    total = target.sum(dim=1)
    known = ~labels.isnan().any(dim=1) & (total > 0)
    shares = target / total.clamp(min=1e-6)[:, None]
    entries = -(shares * F.log_softmax(logits, dim=1)).sum(dim=1)
    return (entries * known).sum() / distributed.mean_count(known.sum(), count)
