"""What UniHead's heads for boxes and for masks share: the feature pyramid as trunk, and proposals with a box head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch
from foundationx.tasks.base import Head, HeadOptions, open_head
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk
from foundationx.tasks.points.two_stage import TwoStage

OutputT = TypeVar("OutputT")
BatchT = TypeVar("BatchT", bound=Batch)


class RegionHead(Head[PyramidTrunk, Pyramid, OutputT, BatchT], Generic[OutputT, BatchT]):
    """Proposals and box head of one dataset on the pyramid of all.

    Args:
        num_classes: K of the dataset's card.
        options: Sizes.
    """

    Options: ClassVar[type[HeadOptions]] = RegionOptions

    def __init__(self, num_classes: int, options: RegionOptions):
        super().__init__()
        self.two_stage = TwoStage(num_classes, options)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> PyramidTrunk:
        """A feature pyramid of the head's width."""
        _, options = open_head(cls.task, config)
        assert isinstance(options, RegionOptions)
        return PyramidTrunk(channels, options.channels, norm=not options.as_released)

    @classmethod
    def build(cls, trunk: PyramidTrunk, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on the pyramid."""
        return cls(num_classes, options)
