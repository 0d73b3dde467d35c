"""Views of a self-supervised batch, seen by a student and a teacher."""

from __future__ import annotations

from foundationx.core.types import Batch
from foundationx.data.normalise import Normaliser
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.self_supervision.head import SelfSupervisionHead
from foundationx.tasks.self_supervision.objective import ObjectiveOutput
from foundationx.tasks.self_supervision.target import SelfSupervisionBatch


def look_at_views(
    student: FoundationModel, teacher: FoundationModel, normalise: Normaliser, batch: Batch
) -> ObjectiveOutput:
    """Losses and features that the objective of the batch's head computes from its views."""
    key = batch.key
    head, target = student.head(key), teacher.head(key)
    assert isinstance(batch, SelfSupervisionBatch)
    assert isinstance(head, SelfSupervisionHead) and isinstance(target, SelfSupervisionHead)
    assert isinstance(batch, SelfSupervisionBatch)
    return head.objective_output(
        lambda images: student.trunk(images, key), lambda images: teacher.trunk(images, key), target, normalise, batch
    )
