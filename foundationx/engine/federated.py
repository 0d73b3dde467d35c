"""Simulated federated training in one process: the loop, with clients that take turns.

See ``docs/methods/ark.md``, "6 Federated training". A client's turn begins from the master, with the client's own
teacher and its own optimizer state. When all have had their turn, the master becomes the mean of the clients' students.
The released code hands the momentum of one client to the next, never averages buffers, and finds heads by a piece of
their name; none of that here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from foundationx.core.errors import ConfigError
from foundationx.core.types import TaskKey
from foundationx.engine.checkpoint import Checkpoint
from foundationx.engine.optim import adapted_state, lr_schedule
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.trainer import Trainer
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_of_names, task_groups

State = dict[str, Tensor]
"""A model's state dict."""


def contributors(model: FoundationModel, clients: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Indices of the clients whose tasks use a tensor, by the tensor's name; those of a head are its owner's alone.

    If all clients have the same tasks, as in Ark+, all of them contribute to everything but the heads. A trunk that
    some clients do not use is averaged over those that do.
    """
    used = [
        {group for key in model.classes if key.dataset in client for group in task_groups(key, model.config)}
        for client in clients
    ]
    groups = group_of_names(model, model.state_dict())
    return {name: tuple(n for n, own in enumerate(used) if group in own) for name, group in groups.items()}


@torch.no_grad()
def average(states: Sequence[Mapping[str, Tensor]], shares: Mapping[str, tuple[int, ...]]) -> State:
    """Equal-weight mean of each floating tensor over its contributors; counters and indices are the last one's."""
    averaged: State = {}
    for name, numbers in shares.items():
        own = [states[number][name] for number in numbers]
        averaged[name] = torch.stack(own).mean(dim=0) if own[0].is_floating_point() else own[-1].clone()
    return averaged


class FederatedTrainer(Trainer):
    """The loop over a plan in which clients take turns. Arguments are the trainer's.

    Between turns a client's teacher, student and optimizer state are stored in memory, and in every checkpoint. At the
    end of a round ``model`` is the master and ``teacher`` the mean of the clients' teachers, by the same rule; inside a
    round they are those of the client whose turn it is.

    Attributes:
        clients: Dataset names of each client.
        shares: Clients whose tasks use a tensor, by the tensor's name.
        master: State dict with which every client of a round begins.
        kept: State of each client between its turns: state dicts of its teacher, optimizer and student.
        turn: Client whose turn it is; None between two turns.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        if self.config.federation is None:
            raise ConfigError("federation", "is missing", "the clients of a federated training", "add `federation`")
        self.clients = self.config.federation.clients
        self.shares = contributors(self.model, self.clients)
        self.master = _copy(self.model.state_dict())
        fresh = {"teacher": _copy(self.master), "optimizer": copy.deepcopy(self.optimizer.state_dict())}
        self.kept: list[dict[str, Any]] = [copy.deepcopy(fresh) for _ in self.clients]
        self.turn: int | None = None
        last_visits = {(phase.cycle, self.client_of(phase.key)): phase.visit for phase in self.plan.phases}
        self._last_visits = set(last_visits.values())  # those with which a client's turn ends
        factor, rounds = lr_schedule(self.config.optimizer), self.config.schedule.cycles
        self.lr_factor = lambda phase, step: factor((phase.cycle - 0.5) / rounds)  # the same for all clients of a round

    def client_of(self, key: TaskKey) -> int:
        """Index of the client that holds a head's dataset."""
        return next(index for index, cards in enumerate(self.clients) if key.dataset in cards)

    def begin_phase(self, phase: Phase) -> None:
        """Begins the turn of the phase's client, unless it has begun; hooks are called afterwards."""
        client = self.client_of(phase.key)
        if client != self.turn:
            self._begin_turn(client)
        super().begin_phase(phase)

    def end_visit(self, phase: Phase) -> None:
        """Ends the client's turn with its last visit, and the round with the last client's; then hooks are called."""
        if self.turn is not None and phase.visit in self._last_visits:
            self._end_turn(self.turn)
            if phase.closes_cycle:
                self._end_round()
        super().end_visit(phase)

    def _begin_turn(self, client: int) -> None:
        """The student becomes the master; teacher and optimizer are the client's own."""
        self.turn = client
        self.model.load_state_dict(self.master)
        self.teacher.model.load_state_dict(self.kept[client]["teacher"])
        self.optimizer.load_state_dict(copy.deepcopy(self.kept[client]["optimizer"]))

    def _end_turn(self, client: int) -> None:
        """Keeps what the client has made."""
        self.kept[client] = {
            "teacher": _copy(self.teacher.model.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "student": _copy(self.model.state_dict()),
        }
        self.turn = None

    def _end_round(self) -> None:
        """Averages the clients: their students become the master, their teachers ``teacher``."""
        self.master = average([client["student"] for client in self.kept], self.shares)
        self.model.load_state_dict(self.master)
        self.teacher.model.load_state_dict(average([client["teacher"] for client in self.kept], self.shares))
        for client in self.kept:
            del client["student"]

    def _progress(self) -> dict[str, Any]:
        """What the loop keeps beside the weights, and the clients' states."""
        return super()._progress() | {"turn": self.turn, "master": self.master, "clients": self.kept}

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Takes over a checkpoint's state, inside a turn or between two. Raises errors of many kinds."""
        super()._restore(checkpoint)
        device = self.device
        self.turn = checkpoint.progress["turn"]
        self.master = {name: value.to(device) for name, value in checkpoint.progress["master"].items()}
        self.kept = checkpoint.progress["clients"]
        optimizers = checkpoint.config.optimizer, self.config.optimizer
        for client in self.kept:
            client["optimizer"] = adapted_state(client["optimizer"], self.model, *optimizers, self.optimizer)
            for role in ("teacher", "student"):
                if role in client:
                    client[role] = {name: value.to(device) for name, value in client[role].items()}


def _copy(state: Mapping[str, Tensor]) -> State:
    return {name: value.detach().clone() for name, value in state.items()}
