"""A segmentation head with everything below it as a segmentor of mmseg, for ``init_model`` and ``inference_model``.

``foundationx export --to mmseg-segmentor`` writes its configuration and checkpoint. Importing this file registers
``FoundationXSegmentor``, ``LoadRadiograph`` and ``StretchRadiograph`` with mmseg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.core.openmmlab import MMSEG_MODELS, MMSEG_TRANSFORMS, BaseSegmentor, PixelData
from foundationx.core.types import TaskKey
from foundationx.weights.openmmlab_parts import LoadRadiograph, StretchRadiograph, build_network

HALF = 0.5
"""Probability from which on a pixel belongs to a class."""


@MMSEG_MODELS.register_module()
class FoundationXSegmentor(BaseSegmentor):
    """Finds what ``foundationx predict`` finds.

    Masks of several classes may overlap, which mmseg does not know: ``seg_logits`` holds the probability of every
    class (K, H, W); ``pred_sem_seg`` the number of the likeliest class plus 1, or 0 if none is likelier than not.

    Args:
        backbone: ``model.backbone`` of the run.
        network: The rest of ``model`` of the run.
        heads: Classes by the heads' names; the segmentation head is the last.
        data_preprocessor: Normalises the pixels.
        init_cfg: Initialisation as in mmengine.
        pretrained: Not used.
        train_cfg: Not used.
        test_cfg: Not used.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        network: Mapping[str, Any],
        heads: Mapping[str, Sequence[str]],
        data_preprocessor: Any = None,
        init_cfg: Any = None,
        pretrained: Any = None,
        train_cfg: Any = None,
        test_cfg: Any = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.network = build_network(backbone, network, heads)
        self.key = TaskKey.parse(list(heads)[-1])

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, S, S) to the backbone's maps."""
        return tuple(self.network.backbone(inputs))

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any) -> Tensor:
        """Probabilities (B, K, S, S)."""
        found: Any = self.network.predict(inputs, self.key)
        masks: Tensor = found.masks
        return masks

    def predict(self, inputs: Tensor, data_samples: Any = None) -> Any:
        """Probabilities and classes of every pixel of every image, at the image's own size."""
        found = self.encode_decode(inputs, data_samples)
        for probabilities, sample in zip(found, data_samples, strict=True):
            size = tuple(sample.ori_shape[:2])
            whole = F.interpolate(probabilities[None], size=size, mode="bilinear", align_corners=False)[0]
            best, index = whole.max(dim=0, keepdim=True)
            classes = torch.where(best >= HALF, index + 1, 0)
            sample.set_data({"seg_logits": PixelData(data=whole), "pred_sem_seg": PixelData(data=classes)})
        return data_samples

    def loss(self, inputs: Tensor, data_samples: Any) -> Any:
        """Training is left to foundationx."""
        raise NotImplementedError("train with `foundationx train`, and export again")

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Any:
        return self.encode_decode(inputs, data_samples)


MMSEG_TRANSFORMS.register_module(module=LoadRadiograph)
MMSEG_TRANSFORMS.register_module(module=StretchRadiograph)
