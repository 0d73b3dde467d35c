"""Site guidance: features that do not say which dataset an image comes from, against shortcuts of joint training.

``reverse``: a small classifier learns to tell the dataset from the pooled feature, and the backbone learns from its
reversed gradient to prevent that (Ganin et al., 2016). ``suppress``: the means of the datasets' features are drawn
together, in units of the spread within a dataset.

A visit shows one dataset, so the features of the others' last images are remembered: the classifier learns from all of
them in equal parts and does not forget. One objective serves all datasets. It is no pretraining: mix it with labelled
visits, which keep what is useful (``tasks: [classification, self_supervision]``).
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.errors import ConfigError
from foundationx.core.geometry.samplers import whole
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.tasks.self_supervision.objective import Objective, ObjectiveBatch, ObjectiveOptions, ObjectiveOutput
from foundationx.tasks.self_supervision.parts.heads import mlp
from foundationx.tasks.self_supervision.parts.memory import all_rows

EPS = 1e-5


class SiteOptions(ObjectiveOptions):
    """Options of site guidance."""

    photometry: PhotometryConfig = Field(
        PhotometryConfig(), description="photometric transforms of the student's views"
    )
    method: Literal["reverse", "suppress"] = Field(
        "reverse", description="reverse: gradient reversal on a classifier of the dataset; suppress: equal means"
    )
    weight: float = Field(1.0, ge=0, le=1000, description="factor on the gradient that reaches the backbone")
    size: int = Field(224, ge=32, le=4096, multiple_of=32, description="side of the view, which is the whole image")
    hidden: int = Field(256, ge=1, le=65_536, description="width of the classifier's hidden layer")
    memory: int = Field(64, ge=1, le=65_536, description="images of each dataset that are remembered")
    sites: int = Field(32, ge=2, le=4096, description="most datasets")


class Site(Objective[SiteOptions]):
    """The loss ``site``; the same images and weights give the same value whatever was visited in between."""

    Options = SiteOptions
    is_shared = True
    same_on_all_ranks = True  # what is remembered comes from all of them
    names: Tensor
    bank: Tensor
    filled: Tensor

    def __init__(self, features: int, options: SiteOptions):
        super().__init__(features, options)
        self.classifier = mlp([features, options.hidden, options.sites])
        self.norm = nn.LayerNorm(features, elementwise_affine=False)
        self.register_buffer("names", torch.full((options.sites,), -1, dtype=torch.long))
        self.register_buffer("bank", torch.zeros(options.sites, options.memory, features))
        self.register_buffer("filled", torch.zeros(options.sites, dtype=torch.long))

    @classmethod
    def views(
        cls,
        options: SiteOptions,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """The whole image."""
        return [View("image", whole(size), options.size)]

    def forward(self, batch: ObjectiveBatch[Any]) -> ObjectiveOutput:
        """The loss, and the next images for the memory."""
        site = self._index(batch.dataset)
        (seen,) = batch.seen_by_student("image")
        (target,) = batch.seen_by_teacher("image")
        feature = self.norm(seen.pooled.float())
        loss = self._reversed(feature, site) if self.options.method == "reverse" else self._means(feature, site)
        if self.training:
            self._remember(feature, site)
        return ObjectiveOutput({"site": loss}, seen.pooled, target.pooled)

    def _reversed(self, feature: Tensor, site: int) -> Tensor:
        """Cross-entropy of the dataset, in equal parts of all datasets; the batch's gradient is reversed."""
        others = self._others(site)
        if not others or self.names[site] < 0:  # before a second dataset was visited
            return feature.sum() * 0.0
        terms = [self._entropy(_Reverse.apply(feature, self.options.weight), site)]
        terms += [self._entropy(self.bank[other, :count].clone(), other) for other, count in others]
        return torch.stack(terms).mean()

    def _entropy(self, feature: Tensor, site: int) -> Tensor:
        logits = self.classifier(feature).masked_fill(self.names < 0, -torch.inf)
        return F.cross_entropy(logits, torch.full((len(feature),), site, device=feature.device))

    def _means(self, feature: Tensor, site: int) -> Tensor:
        """Mean over the other datasets and features of the squared distance of means, over the variance within."""
        others = self._others(site)
        if not others:
            return feature.sum() * 0.0
        terms = []
        for other, count in others:
            remembered = self.bank[other, :count].clone()
            within = (remembered.var(dim=0, unbiased=False) + feature.detach().var(dim=0, unbiased=False)) / 2
            terms.append(((feature.mean(dim=0) - remembered.mean(dim=0)).square() / (within + EPS)).mean())
        return self.options.weight * torch.stack(terms).mean()

    def _others(self, site: int) -> list[tuple[int, int]]:
        """Datasets but this one of which something is remembered, and how many images."""
        return [(other, count) for other, count in enumerate(self.filled.tolist()) if count and other != site]

    def _index(self, dataset: str) -> int:
        """Number of a dataset, in the order in which they came. Raises ConfigError if there are too many."""
        name = zlib.crc32(dataset.encode())
        known = self.names.tolist()
        if name in known:
            return known.index(name)
        if -1 not in known:
            fix = "raise model.objective.sites"
            raise ConfigError("model.objective.sites", f"there are more than {len(known)} datasets", "as many", fix)
        if self.training:
            self.names[known.index(-1)] = name
        return known.index(-1)

    @torch.no_grad()
    def _remember(self, feature: Tensor, site: int) -> None:
        """Puts the batch's features, of all ranks, before what is remembered of the dataset."""
        rows = all_rows(feature.detach())[: self.options.memory]
        kept = torch.cat([rows, self.bank[site]])[: self.options.memory]
        self.bank[site] = kept
        self.filled[site] = min(self.options.memory, int(self.filled[site]) + len(rows))


class _Reverse(torch.autograd.Function):
    """The identity; the gradient is multiplied by -weight."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, weight: float) -> Tensor:
        """The feature itself."""
        ctx.weight = weight
        return feature.view_as(feature)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The reversed gradient."""
        return -ctx.weight * gradients[0], None
