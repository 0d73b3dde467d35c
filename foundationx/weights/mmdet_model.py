"""A detection head with everything below it as a detector of mmdet, for ``init_detector`` and ``inference_detector``.

``foundationx export --to mmdet-detector`` writes its configuration and checkpoint. Importing this file registers
``FoundationXDetector``, ``LoadRadiograph`` and ``StretchRadiograph`` with mmdet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from foundationx.core.openmmlab import MMDET_MODELS, MMDET_TRANSFORMS, BaseDetector, InstanceData
from foundationx.core.types import TaskKey
from foundationx.weights.openmmlab_parts import LoadRadiograph, StretchRadiograph, build_network


@MMDET_MODELS.register_module()
class FoundationXDetector(BaseDetector):
    """Finds what ``foundationx predict`` finds.

    Args:
        backbone: ``model.backbone`` of the run.
        network: The rest of ``model`` of the run.
        heads: Classes of the detection head, by its name.
        data_preprocessor: Normalises the pixels.
        init_cfg: Initialisation as in mmengine.
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
        train_cfg: Any = None,
        test_cfg: Any = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.network = build_network(backbone, network, heads)
        self.key = TaskKey.parse(list(heads)[-1])

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, S, S) to the backbone's maps."""
        return tuple(self.network.backbone(batch_inputs))

    def predict(self, batch_inputs: Tensor, batch_data_samples: Any, rescale: bool = True) -> Any:
        """Boxes of every image: in its pixels, or in those of the network's input if not ``rescale``."""
        found: Any = self.network.predict(batch_inputs, self.key)
        results = []
        for index, sample in enumerate(batch_data_samples):
            height, width = sample.ori_shape if rescale else batch_inputs.shape[-2:]
            kept = found.kept[index]
            instances = InstanceData()
            corners = found.relative_boxes[index][kept]
            instances.bboxes = corners * batch_inputs.new_tensor([width, height, width, height])
            instances.scores, instances.labels = found.scores[index][kept], found.box_classes[index][kept]
            results.append(instances)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Any) -> Any:
        """Training is left to foundationx."""
        raise NotImplementedError("train with `foundationx train`, and export again")

    def _forward(self, batch_inputs: Tensor, batch_data_samples: Any = None) -> Any:
        found: Any = self.network.predict(batch_inputs, self.key)
        return found.relative_boxes, found.scores, found.box_classes


MMDET_TRANSFORMS.register_module(module=LoadRadiograph)
MMDET_TRANSFORMS.register_module(module=StretchRadiograph)
