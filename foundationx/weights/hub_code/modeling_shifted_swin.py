"""A Swin whose windows are always shifted, also if one window covers the whole map.

``SwinModel`` of transformers leaves that shift out and gives other features for the same weights.
"""

import contextlib
import functools

from transformers import SwinConfig, SwinModel

with contextlib.suppress(ImportError, ValueError):  # transformers 5 renames what checkpoints of version 4 hold, by type
    from transformers.conversion_mapping import (
        get_checkpoint_conversion_mapping,
        register_checkpoint_conversion_mapping,
    )

    register_checkpoint_conversion_mapping("shifted_swin", get_checkpoint_conversion_mapping("swin"))


class ShiftedSwinConfig(SwinConfig):
    """Configuration of a Swin of this kind."""

    model_type = "shifted_swin"


class ShiftedSwinModel(SwinModel):
    """``SwinModel`` with windows that are always shifted."""

    config_class = ShiftedSwinConfig

    def __init__(self, config: SwinConfig, add_pooling_layer: bool = True, use_mask_token: bool = False):
        super().__init__(config, add_pooling_layer, use_mask_token)
        self.encoder.forward = functools.partial(self.encoder.forward, always_partition=True)
