"""Overlap losses for masks with unknown pixels."""

from __future__ import annotations

from torch import Tensor

from foundationx.core import distributed


def soft_dice_loss(probabilities: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus soft Dice, over each class of the batch, then the mean over classes with a known pixel.

    Dice is computed over all images of the batch, those of other ranks too (``docs/methods/foundation_x.md``,
    "3.1 Task losses"), which steadies small structures; per class, so that a large one does not hide a small one.

    Args:
        probabilities: (B, K, H, W) in [0, 1].
        target: (B, K, H, W) in [0, 1]; NaN is unknown and is left out of all sums.
        smooth: added to numerator and denominator; an empty prediction of an empty target scores 1.

    Returns:
        A scalar in [0, 1]; 0 if nothing is known.
    """
    known = ~target.isnan()
    truth = target.nan_to_num(0.0).to(probabilities.dtype)
    over = (0, 2, 3)
    overlap, total, annotated = distributed.all_reduce_sum(
        (probabilities * truth * known).sum(over),
        (probabilities * known).sum(over) + (truth * known).sum(over),
        known.any(dim=3).any(dim=2).any(dim=0),
    )
    dice = (2 * overlap + smooth) / (total + smooth)
    return ((1 - dice) * annotated).sum() / annotated.sum().clamp(min=1)
