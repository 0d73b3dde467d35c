"""Few-shot: the linear probe with a handful of training images, several draws of them, mean and standard deviation.

The first n images of one seeded order are used, so that larger sets include smaller ones (nested
subsets). C is chosen on validation for each draw.
"""

from __future__ import annotations

import statistics

import numpy as np
from pydantic import Field, PositiveInt

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.apps.protocols.embedding import best_probe, check_projector, embed, mean_auroc
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split, TaskKey


class Options(Section):
    """Numbers of images and draws."""

    shots: tuple[PositiveInt, ...] = Field((5, 10, 20, 50), min_length=1, description="numbers of training images")
    draws: PositiveInt = Field(5, description="draws of the training images")
    projected: bool = Field(False, description="embed after the projector, which the model has to have")


def run(request: Request, options: Options) -> Result:
    """Mean AUROC on test for each number of images: mean and standard deviation over the draws.

    Raises:
        ConfigError: More images are asked for than the training split has, or a split has no image.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    check_projector(subject, options.projected)
    subject.need(key, (Split.TRAIN, Split.VAL, Split.TEST))
    splits = {split: embed(subject, key, split, options.projected) for split in Split}
    available = len(splits[Split.TRAIN].images)
    if max(options.shots) > available:
        raise ConfigError("--with shots", f"found {max(options.shots)}", f"at most the {available:,} training images")
    orders = [np.random.default_rng((draw, available)).permutation(available) for draw in range(options.draws)]
    rows = []
    for shots in sorted(options.shots):
        scores = []
        for order in orders:
            probe, _ = best_probe(splits[Split.TRAIN].take(order[:shots]), splits[Split.VAL])
            score = mean_auroc(splits[Split.TEST].labels, probe.probabilities(splits[Split.TEST]))
            scores += [] if score is None else [score]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        mean = f"{statistics.mean(scores):.4f}" if scores else "-"
        rows.append((str(shots), str(len(scores)), mean, "-" if spread is None else f"{spread:.4f}"))
    title = f"few-shot linear probe of {request.checkpoint} ({subject.name}) on {key}, test"
    notes = [f"images: {subject.sizes(key)}; a class that the draw saw one-sided scores 0.5"]
    return Result(title, ("images", "draws", "mean AUROC", "standard deviation"), rows, notes)
