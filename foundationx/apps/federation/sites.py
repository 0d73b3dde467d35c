"""The two roles of a federation, without any transport: a site has data, the coordinator has none.

What a site gives away is a list of numbers and names (:meth:`Site.facts`) and tensors of weights (:meth:`Site.turn`),
never an image, a label or a file's name. The result equals that of ``foundationx federate`` to the last bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from foundationx.apps.run.compile import compile_trainer
from foundationx.apps.run.data_notes import with_applied_audit
from foundationx.apps.run.train import begin_heads, load_initial_weights, plan_segments
from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device, use_machine
from foundationx.core.errors import CheckpointError, ConfigError, DataError
from foundationx.core.types import Batch, Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.data.loader import PlanSampler, make_loader
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, prune_checkpoints, save_checkpoint
from foundationx.engine.federated import (
    ClientState,
    ClientTrainer,
    State,
    average,
    clients_of,
    contributors,
    fresh_client,
)
from foundationx.engine.schedule.plan import Plan, build_plan
from foundationx.models.foundation_model import FoundationModel


@dataclass(frozen=True)
class HeadFacts:
    """What a site says of one of its heads, before the first round.

    Attributes:
        head: Dataset and task.
        classes: Names of the classes.
        images: Number of training images.
    """

    head: str
    classes: tuple[str, ...]
    images: int

    def as_json(self) -> dict[str, Any]:
        """As a plain dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeadFacts:
        """From a plain dictionary of another machine. Raises DataError."""
        try:
            facts = _Facts.model_validate(values)
            return cls(facts.head, tuple(facts.classes), facts.images)
        except ValidationError as error:
            first = error.errors()[0]
            found = f"a site's answer makes no sense ({'.'.join(map(str, first['loc']))}: {first['msg']})"
            raise DataError("federation", found, "head, classes, images", "use one version everywhere") from None


def _head(name: str) -> str:
    return str(TaskKey.parse(name))


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a class is named twice")
    return names


_Name = Annotated[str, Field(max_length=200)]


class _Facts(BaseModel):
    """What another machine may say of a head: its numbers and names decide how much is computed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    head: Annotated[_Name, AfterValidator(_head)]
    classes: Annotated[list[_Name], Field(min_length=1, max_length=10_000), AfterValidator(_distinct)]
    images: int = Field(ge=0, le=1_000_000_000)


def check_tensors(sender: str, sent: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Checks weights of another machine.

    Args:
        sender: Who has sent them.
        sent: Tensors by name.
        expected: Tensors of the same names, shapes and types.

    Raises:
        DataError: Some are missing, not wanted, of another shape or type, or not finite.
    """
    if others := set(sent) ^ set(expected):
        found = f"sent {len(sent)} tensors, {len(others)} of them missing or not its own"
        raise DataError(sender, found, f"{len(expected)} tensors", "use one version everywhere")
    for name, value in sent.items():
        of = expected[name]
        is_finite = not value.is_floating_point() or bool(torch.isfinite(value).all())
        if (value.shape, value.dtype) != (of.shape, of.dtype) or not is_finite:
            found = f"{name} has shape {tuple(value.shape)} and type {value.dtype}, or is not finite"
            raise DataError(sender, found, f"finite {of.dtype} {tuple(of.shape)}")


@dataclass(frozen=True)
class Federation:
    """What all sites and the coordinator agree on: the configuration, every head, and the plan that follows.

    Attributes:
        config: Configuration of the federation.
        facts: All heads, in the order of the configuration's datasets.
    """

    config: RunConfig
    facts: tuple[HeadFacts, ...]

    @classmethod
    def of(cls, config: RunConfig, answers: Sequence[Sequence[HeadFacts]]) -> Federation:
        """The federation of what the sites have said.

        Args:
            config: Configuration of the federation.
            answers: Heads of each client, in the order of the clients.

        Raises:
            ConfigError: A site has said something of a dataset that another one holds, or nothing of its own.
        """
        for client, (cards, heads) in enumerate(zip(clients_of(config), answers, strict=True)):
            if {TaskKey.parse(head.head).dataset for head in heads} != set(cards):
                found, expected = f"answers for {', '.join(head.head for head in heads)}", ", ".join(cards)
                raise ConfigError(f"client {client + 1}", found, expected, "start each site for its own client")
        heads = [head for answer in answers for head in answer]
        order = [dataset.card for dataset in config.datasets]
        ordered = sorted(heads, key=lambda head: order.index(TaskKey.parse(head.head).dataset))
        return cls(config, tuple(ordered))

    @property
    def classes(self) -> dict[TaskKey, tuple[str, ...]]:
        """Class names of each head."""
        return {TaskKey.parse(head.head): head.classes for head in self.facts}

    def plan(self) -> Plan:
        """The plan of all clients."""
        return build_plan(self.config, {TaskKey.parse(head.head): head.images for head in self.facts})

    def model(self) -> FoundationModel:
        """The seeded network with every head; without the weights of ``model.init``."""
        torch.manual_seed(self.config.runtime.seed)
        return FoundationModel(self.config.model, self.classes)


class Site:
    """One client: it alone opens its datasets, and keeps its teacher and its optimizer's state.

    Args:
        config: Configuration of the federation.
        client: Index of the client.
        data_root: Folder with the client's datasets; those of others need not be there.
        folder: Folder for the client's own checkpoints: its teacher is what it deploys.

    Raises:
        FoundationXError: The datasets cannot be opened.
    """

    def __init__(self, config: RunConfig, client: int, data_root: Path, folder: Path):
        if config.model.shared_head:
            expected = "heads of each dataset: the classes of a shared one are those of all sites"
            raise ConfigError("model.shared_head", "is set", expected, "leave it out where sites keep their data")
        self.config, self.client, self.folder = config, client, WorkDir(folder)
        self.cards = clients_of(config)[client]
        own = tuple(dataset for dataset in config.datasets if dataset.card in self.cards)
        own_config = with_applied_audit(config.model_copy(update={"datasets": own}), data_root)
        self.data_module = open_datasets(own_config, data_root)
        self.trainer: ClientTrainer | None = None
        self.state: tuple[int, ClientState] | None = None

    def facts(self) -> list[HeadFacts]:
        """What the coordinator has to know before the first round."""
        sizes = self.data_module.sizes(Split.TRAIN)
        return [HeadFacts(str(key), names, sizes[key]) for key, names in self.data_module.classes.items()]

    def turn(self, federation: Federation, number: int, master: Mapping[str, Tensor]) -> State:
        """The client's visits in one round.

        Args:
            federation: What all have agreed on.
            number: Number of the round, from 1.
            master: State dict with which every client begins the round.

        Returns:
            The student's tensors that the client has trained: the parts that its tasks use, no other client's heads.

        Raises:
            CheckpointError: The state after the round before is not here.
            DataError: There is no such round, or the master is none of this federation.
            FoundationXError: An image cannot be used, or training diverges.
        """
        rounds = self.config.schedule.cycles
        if not 1 <= number <= rounds:
            raise DataError("coordinator", f"asks for round {number}", f"1 to {rounds}", "use one version everywhere")
        trainer = self.trainer or self._build(federation)
        check_tensors("coordinator", master, trainer.model.state_dict())
        weights = {name: value.to(trainer.device) for name, value in master.items()}
        if number == 1:
            trainer.model.load_state_dict(weights)
            begin_heads(trainer.model, self.data_module, self._fresh(federation, trainer.model))
            weights = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
            trainer.teacher.model.load_state_dict(weights)
            self.state = (0, fresh_client(trainer))
        after = trainer.take_turn(self.cards, number, weights, self._state_before(number))
        student = after.pop("student")
        self.state = (number, after)
        self._store(number)
        shares = contributors(trainer.model, clients_of(self.config))
        return {name: value.cpu() for name, value in student.items() if self.client in shares[name]}

    def _fresh(self, federation: Federation, model: FoundationModel) -> list[TaskKey]:
        """The client's heads that are as they were made: the coordinator has loaded no weights for them."""
        made = federation.model()
        pairs = {
            key: (model.head(key).state_dict(), made.head(key).state_dict()) for key in self.data_module.annotations
        }
        return [
            key
            for key, (own, fresh) in pairs.items()
            if all(torch.equal(own[name].cpu(), value) for name, value in fresh.items())
        ]

    def _build(self, federation: Federation) -> ClientTrainer:
        device = pick_device(self.config.runtime.device)
        use_machine(self.config.runtime.workers)
        plan, model = federation.plan(), federation.model().to(device)
        self.trainer = ClientTrainer(self.config, model, plan, self._batches, self.folder.checkpoints)
        compile_trainer(self.trainer, plan)
        return self.trainer

    def _batches(self, step: int) -> Iterator[Batch]:
        """The batches of the turn that begins with a step, as the simulation reads them."""
        assert self.trainer is not None
        plan, config = self.trainer.plan, self.config
        (first,) = (phase for phase in plan.phases if phase.first_step == step)
        turn = [p for p in plan.phases if p.cycle == first.cycle and p.key.dataset in self.cards]
        segments = [segment for segment in plan_segments(plan) if segment.key.dataset in self.cards]
        indices = {key: splits[Split.TRAIN] for key, splits in self.data_module.indices.items()}
        sampler = PlanSampler(segments, indices, config.runtime.batch_size, config.runtime.seed, step)
        read = list(itertools.islice(sampler, sum(phase.reads for phase in turn)))
        on_cuda = self.trainer.device.type == "cuda"
        return iter(make_loader(self.data_module.training(), read, config.runtime.workers, pin_memory=on_cuda))

    def _state_before(self, number: int) -> ClientState:
        """The client's state after the round before; from the disk if this process has not taken that turn."""
        assert self.trainer is not None
        if self.state is None or self.state[0] != number - 1:
            ends = {
                phase.cycle: phase.end_step for phase in self.trainer.plan.phases if phase.key.dataset in self.cards
            }
            wanted = f"step_{ends[number - 1]:08d}"
            paths = [path for path in checkpoints_in(self.folder.root) if path.stem == wanted]
            if not paths:
                found, expected = f"has no state after round {number - 1}", f"{wanted}.pt"
                fix = "start the site in the folder of its earlier rounds, or start the federation anew"
                raise CheckpointError(str(self.folder.checkpoints), found, expected, fix)
            stored = load_checkpoint(paths[0])
            return {"teacher": stored.teacher, "optimizer": stored.optimizer}
        return self.state[1]

    def _store(self, number: int) -> None:
        """A checkpoint after a turn: the student as it ended, the client's teacher and the optimizer's state."""
        assert self.trainer is not None and self.state is not None
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self.folder.checkpoints,
            config=self.config,
            model=self.trainer.model,
            teacher=self.trainer.teacher.model,
            optimizer=self.state[1]["optimizer"],
            step=self.trainer.step,
            visit=self.trainer.visit,
            progress={"round": number},
        )
        prune_checkpoints(self.folder.checkpoints, self.config.runtime.keep_checkpoints)


class Coordinator:
    """Has no data: it keeps the master and averages what the sites send.

    Args:
        federation: What all have agreed on.
    """

    def __init__(self, federation: Federation):
        self.federation = federation
        self.model = federation.model()
        load_initial_weights(self.model)
        self.shares = contributors(self.model, clients_of(federation.config))
        self.master: State = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def end_round(self, students: Sequence[Mapping[str, Tensor]]) -> None:
        """The mean of the clients' students becomes the master.

        Args:
            students: What :meth:`Site.turn` has given, in the order of the clients.

        Raises:
            DataError: A site has not sent what it has to, or something that is no weight.
        """
        for client, student in enumerate(students):
            own = {name: self.master[name] for name, clients in self.shares.items() if client in clients}
            check_tensors(f"client {client + 1}", student, own)
        self.master = average(students, self.shares)

    def save(self, folder: Path) -> Path:
        """Writes the master as a checkpoint, student and teacher alike: the clients' teachers stay with them."""
        self.model.load_state_dict(self.master)
        plan, work_dir = self.federation.plan(), WorkDir(folder)
        work_dir.checkpoints.mkdir(parents=True, exist_ok=True)
        work_dir.write_json("config.json", self.federation.config.model_dump(mode="json"))
        return save_checkpoint(
            work_dir.checkpoints,
            config=self.federation.config,
            model=self.model,
            teacher=self.model,
            optimizer={},
            step=plan.total_steps,
            visit=plan.total_visits,
            progress={},
        )
