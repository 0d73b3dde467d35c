"""The foundation model: one backbone, one trunk per task, one head for each task of each dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foundationx.core.config.model import ModelConfig, NormalisationConfig
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Batch, Prediction, TaskKey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.models.backbone import Backbone
from foundationx.models.parameter_groups import head_owner, head_slug
from foundationx.tasks.base import Head, open_head
from foundationx.tasks.definition import task_of


def renormalised(images: Tensor, config: ModelConfig, own: NormalisationConfig) -> Tensor:
    """Images (B, 3, H, W) under ``model.mean`` and ``model.std`` as they are under a task's own normalisation."""
    mean, std, own_mean, own_std = (
        images.new_tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std, own.mean, own.std)
    )
    return images * (std / own_std) + (mean - own_mean) / own_std


class FoundationModel(nn.Module):
    """Backbone, trunks and heads; which of them are trained is decided by the plan (``models/parameter_groups.py``).

    From a batch to its loss there is one way in, :meth:`losses`; the teacher is asked for :meth:`trunk`. ``forward``
    follows mmengine's protocol (``inputs, data_samples, mode``).

    Args:
        config: Configuration of the network.
        heads: Class names of each head; their order is the order of the head's outputs.

    Raises:
        ConfigError: The backbone or one of its arguments is unknown, ``softmax`` names no classification head, or a
            head needs stages that the backbone cannot give.
    """

    def __init__(self, config: ModelConfig, heads: Mapping[TaskKey, Sequence[str]]):
        super().__init__()
        self.config = config
        self.origin: dict[str, Any] | None = None  # what was loaded from an earlier run, for the record
        self.classes = {key: tuple(names) for key, names in heads.items()}
        self.backbone = Backbone(config.backbone, config.lora)
        self.trunks = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for key, names in self.classes.items():
            head_class, options = open_head(key.task, config)
            if head_class.raw_stages and not self.backbone.has_raw_stages:
                found = f"takes the stages of {config.backbone['type']} before their norms"
                fix = "choose a Swin or another head"
                raise ConfigError(f"model.heads.{key.task.value}.type", found, "a Swin of mmdet or ours", fix)
            if key.task.value not in self.trunks:
                self.trunks[key.task.value] = head_class.build_trunk(self.backbone.channels, config)
            slug = head_slug(head_owner(key, config))
            if slug not in self.heads:
                self.heads[slug] = head_class.build(self.trunks[key.task.value], len(names), config, options)
        self._set_exclusive()

    def _set_exclusive(self) -> None:
        """Heads whose classes exclude each other, as the configuration names them.

        Heads of other datasets may be named, as in a base configuration of more datasets, if there is such a card.
        """
        known = {str(key): key for key in self.classes if self.head(key).exclusive is not None}
        datasets = {key.dataset for key in self.classes}
        for name in self.config.softmax:
            dataset = name.partition("/")[0]
            if name not in known and dataset not in datasets and dataset in Catalog().names():
                continue
            if name not in known:
                raise ConfigError("model.softmax", f"{name!r} is no classification head", nearest(name, known))
            self.head(known[name]).exclusive = True

    def head(self, key: TaskKey) -> Head:
        """The head of a key. Raises KeyError if the model has none of that name."""
        if key not in self.classes:
            raise KeyError(f"no head {key}; heads: {', '.join(map(str, self.classes))}")
        head = self.heads[head_slug(head_owner(key, self.config))]
        assert isinstance(head, Head)
        return head

    def trunk(
        self, images: Tensor, key: TaskKey, *, gate: bool = True, features: Sequence[Tensor] | None = None
    ) -> Any:
        """Output of the task's trunk, at which student and teacher are compared.

        Args:
            images: Normalised images, (B, 3, H, W).
            key: Head whose trunk is run.
            gate: Whether the dataset's own detection head guides its segmentation, if the configuration has a
                ``region_gate`` and the dataset such a head.
            features: The backbone's normed feature maps of these images, if they are known; a task with a
                normalisation of its own, or on raw stages, computes others.
        """
        trunk = self.trunks[key.task.value]
        if not key.task.facts.has_fixed_shape:  # its images vary in size: they bypass what may be compiled
            return trunk(self.backbone.forward(images))
        features = self._features(images, key, features)
        return trunk(self._guided(images, features, key) if gate else features)

    def _features(self, images: Tensor, key: TaskKey, shared: Sequence[Tensor] | None) -> Sequence[Tensor]:
        """Feature maps as the task's trunk takes them; ``shared`` ones if they are known and the task has no others."""
        if shared is not None and self._shares_features(key):
            return shared
        own, trunk = self.config.normalisation.get(key.task), self.trunks[key.task.value]
        if own is not None:
            images = renormalised(images, self.config, own)
        # Stages that the trunk does not use stay out of the graph: their norms get no gradient, not one of zero.
        return self.backbone(images, trunk.stages if torch.is_grad_enabled() else None, self.head(key).raw_stages)

    def _shares_features(self, key: TaskKey) -> bool:
        """Whether a task takes the backbone's normed stages of images under the common normalisation."""
        return not self.head(key).raw_stages and key.task not in self.config.normalisation

    def _guide(self, key: TaskKey) -> TaskKey | None:
        """The head of the same dataset whose predictions gate this task's features; None for none."""
        task = task_of(key.task).guide(self.config)
        guide = None if task is None else TaskKey(key.dataset, task)
        return guide if guide in self.classes else None

    def _guided(self, images: Tensor, features: Sequence[Tensor], key: TaskKey) -> Sequence[Tensor]:
        """Feature maps after the gate of the dataset's detection head, if the configuration has one."""
        guide, size = self._guide(key), (images.shape[-2], images.shape[-1])
        if guide is None:
            return features
        with torch.no_grad():
            trunk, head = self.trunks[guide.task.value], self.head(guide)
            shared = tuple(feature.detach() for feature in features) if self._shares_features(key) else None
            memory = trunk(self._features(images, guide, shared))
            prediction = head.predict(head(memory, trunk), size)
        return task_of(key.task).guided(features, prediction, size, self.config)

    def losses(self, images: Tensor | None, batch: Batch, trunk_output: Any = None) -> tuple[Any, dict[str, Tensor]]:
        """Output of the batch's trunk and the named losses of its head.

        Args:
            images: Normalised images of the batch, (B, 3, H, W); None if the trunk's output is known.
            batch: Targets, on the model's device.
            trunk_output: Output of :meth:`trunk` for the batch, if it is known.
        """
        if images is not None:
            trunk_output = self.trunk(images, batch.key)
        return trunk_output, self.head_loss(trunk_output, batch)

    def head_loss(self, trunk_output: Any, batch: Batch) -> dict[str, Tensor]:
        """Named losses of the batch's head."""
        head = self.head(batch.key)
        return head.loss(head(trunk_output, self.trunks[batch.key.task.value], batch), batch)

    def predict(self, images: Tensor, key: TaskKey) -> Prediction:
        """Prediction of the head of ``key`` for (B, 3, H, W) normalised images."""
        gate = self.config.region_gate is not None and self.config.region_gate.at_test
        outputs = self.head(key)(self.trunk(images, key, gate=gate), self.trunks[key.task.value])
        return self.head(key).predict(outputs, (images.shape[-2], images.shape[-1]))

    def predict_all(self, images: Tensor, keys: Sequence[TaskKey]) -> dict[TaskKey, Prediction]:
        """As :meth:`predict`, for several heads, with one pass through the backbone and one through each trunk.

        Tasks with a normalisation of their own, or on raw stages, take one more pass through the backbone each.
        """
        gate, size = self.config.region_gate is not None and self.config.region_gate.at_test, images.shape[-2:]
        shared = self.backbone(images) if any(self._shares_features(key) for key in keys) else None
        outputs: dict[Any, Any] = {}
        predictions = {}
        for key in keys:
            part = key if gate and self._guide(key) is not None else key.task
            if part not in outputs:
                outputs[part] = self.trunk(images, key, gate=gate, features=shared)
            raw = self.head(key)(outputs[part], self.trunks[key.task.value])
            predictions[key] = self.head(key).predict(raw, (size[0], size[1]))
        return predictions

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """mmengine's protocol.

        Args:
            inputs: Normalised images, (B, 3, H, W).
            data_samples: Batch (``loss``) or key of the head (``predict``).
            mode: ``loss`` gives named losses, ``predict`` a Prediction, ``tensor`` the backbone's feature maps.
        """
        if mode == "tensor":
            return self.backbone(inputs)
        if mode == "loss":
            return self.losses(inputs, data_samples)[1]
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode is 'tensor', 'loss' or 'predict', not {mode!r}")
