"""What is evaluated and exported of a federated run: the master, and every client's own teacher."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from foundationx.apps.run.hooks import EvaluateAndReport
from foundationx.core.types import Prediction, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.engine.federated import FederatedTrainer
from foundationx.engine.hooks import Hook
from foundationx.engine.progress import Progress
from foundationx.engine.schedule.plan import Plan
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.base import Head
from foundationx.weights.exports.backbone import export_backbone

LOCAL = "local"
"""Name in metrics: every head by the teacher of the client that owns it, which is what a client would use."""


class LocalTeachers(nn.Module):
    """The clients' teachers as one model: a head is answered by its owner's.

    One network is filled with the weights of whoever is asked; heads of one client should follow each other.

    Args:
        trainer: between two rounds.
    """

    def __init__(self, trainer: FederatedTrainer):
        super().__init__()
        self.trainer = trainer
        self.network = copy.deepcopy(trainer.teacher.model)
        self.filled: int | None = None

    def of(self, client: int) -> FoundationModel:
        """The teacher of one client."""
        if client != self.filled:
            self.network.load_state_dict(self.trainer.kept[client]["teacher"])
            self.filled = client
        return self.network.eval()

    def predict(self, images: Tensor, key: TaskKey) -> Prediction:
        """As :meth:`FoundationModel.predict`."""
        return self._owner(key).predict(images, key)

    def trunk(self, images: Tensor, key: TaskKey) -> Any:
        """As :meth:`FoundationModel.trunk`."""
        return self._owner(key).trunk(images, key)

    def head(self, key: TaskKey) -> Head:
        """As :meth:`FoundationModel.head`."""
        return self._owner(key).head(key)

    def _owner(self, key: TaskKey) -> FoundationModel:
        return self.of(self.trainer.client_of(key))


class EvaluateFederated(EvaluateAndReport):
    """Between rounds: ``student`` is the master, ``local`` the clients' teachers, ``teacher`` the mean of these."""

    trainer: FederatedTrainer

    def _models(self) -> dict[str, FoundationModel]:
        if self.trainer.turn is not None:
            return super()._models()
        local: Any = LocalTeachers(self.trainer)  # is asked as a model: predict, trunk and head
        return {LOCAL: local} | super()._models()


class ExportClients(Hook):
    """Exports the backbone of every client's teacher when training has come to its end."""

    def __init__(self, trainer: FederatedTrainer, folder: WorkDir, progress: Progress):
        self.trainer, self.folder, self.progress = trainer, folder, progress

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Writes ``backbone_client_N.safetensors``, counted from 1 in the order of the configuration."""
        if not finished:
            return
        teachers = LocalTeachers(self.trainer)
        for client, cards in enumerate(self.trainer.clients):
            path = self.folder.root / f"backbone_client_{client + 1}.safetensors"
            export_backbone(teachers.of(client), self.trainer.config, "teacher", path)
            self.progress.message(f"backbone of {', '.join(cards)}: {path}")
