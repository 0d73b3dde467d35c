"""Self-supervision as a head: it holds an objective and learns from views, not from labels.

See ``docs/methods/self_supervision.md``, "7 Common framework".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Prediction, Task
from foundationx.tasks.base import Head, HeadOptions
from foundationx.tasks.self_supervision.objective import Objective, ObjectiveBatch, ObjectiveOutput, open_objective
from foundationx.tasks.self_supervision.target import SelfSupervisionBatch
from foundationx.tasks.self_supervision.tokens import LastStage, encoder


class SelfSupervisionHead(Head[LastStage, Tensor, Tensor, SelfSupervisionBatch]):
    """The objective of ``model.objective`` for one dataset, with its heads, queue and centre.

    Args:
        objective: on the backbone's last stage.
    """

    task = Task.SELF_SUPERVISION

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> LastStage:
        """The backbone's last stage, unchanged."""
        return LastStage(channels[-1])

    @classmethod
    def build(cls, trunk: LastStage, num_classes: int, config: ModelConfig, options: HeadOptions) -> Self:
        """The configured objective. Raises ConfigError if it is unknown or an option is wrong."""
        chosen, chosen_options = open_objective(config.objective)
        return cls(chosen(trunk.features, chosen_options))

    def objective_output(
        self,
        student: Callable[[Tensor], Tensor],
        teacher: Callable[[Tensor], Tensor],
        target: SelfSupervisionHead,
        normalise: Callable[[Tensor], Tensor],
        batch: SelfSupervisionBatch,
    ) -> ObjectiveOutput:
        """What the objective finds in a batch of views.

        Args:
            student: normalised images to the trunk's output.
            teacher: the same by the teacher.
            target: the teacher's copy of this head.
            normalise: bytes to normalised images.
            batch: with views, on the model's device.
        """
        return self.objective(
            ObjectiveBatch(
                views=batch.views,
                training_progress=batch.training_progress,
                student=encoder(student, normalise),
                teacher=encoder(teacher, normalise),
                target=target.objective,
                normalise=normalise,
                dataset=batch.key.dataset,
            )
        )

    def forward(self, feature: Tensor, trunk: LastStage, batch: SelfSupervisionBatch | None = None) -> Tensor:
        """The pooled feature (B, D) of (B, D, h, w): what there is of a single image."""
        return feature.mean(dim=(2, 3))

    def loss(self, outputs: Tensor, batch: SelfSupervisionBatch) -> dict[str, Tensor]:
        """Does not apply: losses need several views and the teacher, see ``objective_output``."""
        raise NotImplementedError("self-supervision has no loss of a single view; use objective_output()")

    def predict(self, outputs: Tensor, size: tuple[int, int]) -> Prediction:
        """Nothing is predicted."""
        return Prediction()
