"""Federated training: a client's turn and the average as functions of plain state, and the loop that simulates both.

``FederatedTrainer`` lets the clients take turns in one process. In a federation of several machines
(``apps/federation``) a ``ClientTrainer`` takes the turns of one client; the average is taken elsewhere. Both give the
same bits: a turn is a function of the master, the client's own state and the round.

See ``docs/methods/ark.md``, "6 Federated training". A client's turn begins from the master, with the client's own
teacher and its own optimizer state. When all have had their turn, the master becomes the mean of the clients' students.
The released code hands the momentum of one client to the next, never averages buffers, and finds heads by a piece of
their name; none of that here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import TaskKey
from foundationx.data.loader import deaths_seen_when_reading
from foundationx.engine.checkpoint import Checkpoint
from foundationx.engine.optim import adapted_state, lr_schedule
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.trainer import Trainer
from foundationx.models.compile import compile_errors
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_of_names, task_groups

State = dict[str, Tensor]
"""A model's state dict."""

ClientState = dict[str, Any]
"""What a client keeps between turns: state dicts of its ``teacher`` and ``optimizer``; after a turn, of ``student``."""


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


def fresh_client(trainer: Trainer) -> ClientState:
    """State of a client before its first turn: the teacher is the student's copy, the optimizer has no moments."""
    teacher = _copy(trainer.model.state_dict())
    return {"teacher": teacher, "optimizer": copy.deepcopy(trainer.optimizer.state_dict())}


def begin_turn(trainer: Trainer, master: Mapping[str, Tensor], client: ClientState) -> None:
    """The student becomes the master; teacher and optimizer are the client's own."""
    trainer.model.load_state_dict(master)
    trainer.teacher.model.load_state_dict(client["teacher"])
    trainer.optimizer.load_state_dict(copy.deepcopy(client["optimizer"]))


def end_turn(trainer: Trainer) -> ClientState:
    """What the client has made in its turn."""
    return {
        "teacher": _copy(trainer.teacher.model.state_dict()),
        "optimizer": copy.deepcopy(trainer.optimizer.state_dict()),
        "student": _copy(trainer.model.state_dict()),
    }


def rate_of_round(config: RunConfig) -> Callable[[Phase, int], float]:
    """Factor on the learning rate: the same for all clients of a round."""
    factor, rounds = lr_schedule(config.optimizer), config.schedule.cycles
    return lambda phase, step: factor((phase.cycle - 0.5) / rounds)


def clients_of(config: RunConfig) -> tuple[tuple[str, ...], ...]:
    """Dataset names of each client. Raises ConfigError: the configuration has none."""
    if config.federation is None:
        raise ConfigError("federation", "is missing", "the clients of a federated training", "add `federation`")
    return config.federation.clients


class ClientTrainer(Trainer):
    """The loop of one client of a federation, turn after turn. Arguments are the trainer's; nothing is saved here."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.lr_factor = rate_of_round(self.config)

    @compile_errors()
    def take_turn(
        self, cards: Sequence[str], number: int, master: Mapping[str, Tensor], client: ClientState
    ) -> ClientState:
        """The visits of one client in one round.

        Args:
            cards: Datasets of the client.
            number: Number of the round, from 1.
            master: State dict with which every client of the round begins.
            client: State after the client's last turn; :func:`fresh_client` before its first.

        Raises:
            DataError: An image cannot be used, or a worker has died.
            DivergenceError: Too many steps in a row had no finite loss and gradient.
        """
        phases = [phase for phase in self.plan.phases if phase.cycle == number and phase.key.dataset in cards]
        self.step = phases[0].first_step
        begin_turn(self, master, client)
        source = iter(self.batches(self.step))
        with deaths_seen_when_reading():
            for phase in phases:
                self._run_phase(phase, source)
        self.teacher.flush()
        return end_turn(self)

    def save(self, final: bool = False) -> None:
        """Nothing: what is kept is the state between two turns."""

    def _save_if_due(self) -> None:
        """Nothing, likewise."""


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
        self.clients = clients_of(self.config)
        self.shares = contributors(self.model, self.clients)
        self.master = _copy(self.model.state_dict())
        self.kept: list[ClientState] = [fresh_client(self) for _ in self.clients]
        self.turn: int | None = None
        last_visits = {(phase.cycle, self.client_of(phase.key)): phase.visit for phase in self.plan.phases}
        self._last_visits = set(last_visits.values())  # those with which a client's turn ends
        self.lr_factor = rate_of_round(self.config)

    def client_of(self, key: TaskKey) -> int:
        """Index of the client that holds a head's dataset."""
        return next(index for index, cards in enumerate(self.clients) if key.dataset in cards)

    def begin_phase(self, phase: Phase) -> None:
        """Begins the turn of the phase's client, unless it has begun; hooks are called afterwards."""
        client = self.client_of(phase.key)
        if client != self.turn:
            self.turn = client
            begin_turn(self, self.master, self.kept[client])
        super().begin_phase(phase)

    def end_visit(self, phase: Phase) -> None:
        """Ends the client's turn with its last visit, and the round with the last client's; then hooks are called."""
        if self.turn is not None and phase.visit in self._last_visits:
            self.kept[self.turn] = end_turn(self)
            self.turn = None
            if phase.closes_cycle:
                self._end_round()
        super().end_visit(phase)

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
