"""Federated rounds against a slow reference: averages by hand, heads from owners, nothing handed between clients."""

import copy
import zlib
from pathlib import Path

import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.normalise import Normaliser
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.engine.federated import FederatedTrainer, contributors
from foundationx.engine.hooks import Hook
from foundationx.engine.optim import build_optimizer, lr_schedule
from foundationx.engine.schedule.curves import cosine
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.step import training_losses
from foundationx.evaluation.trivial import EMPTY, TRIVIAL
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.segmentation.target import SegmentationBatch

pytestmark = pytest.mark.slow

C, S = Task.CLASSIFICATION, Task.SEGMENTATION
CLASSES = {
    TaskKey("films", C): ("mass", "nodule"),
    TaskKey("organs", S): ("heart",),
    TaskKey("mixed", C): ("mass", "oedema", "fracture"),
    TaskKey("mixed", S): ("heart", "lung"),
}
CLIENTS = [["films", "organs"], ["mixed"]]


LOCK = {"classification": 0.5, "detection": 0.5, "segmentation": 0.5}


def config_of(clients=CLIENTS, **changes) -> RunConfig:
    """Two clients, three rounds, every random layer off."""
    backbone = {"type": "mmdet.SwinTransformer", "embed_dims": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
    backbone |= {"window_size": 4, "drop_path_rate": 0.0}
    values = {
        "name": "x",
        "image_size": 64,
        "model": {"backbone": backbone, "segmentation": {"channels": 8, "dropout": 0.0}},
        "datasets": [{"card": "films"}, {"card": "organs"}, {"card": "mixed"}],
        "schedule": {"type": "federated", "cycles": 3, "lock": LOCK, "lock_until": 1.0, "floor": 0.0},
        "federation": {"clients": clients},
        "teacher": {"momentum": {"type": "cosine", "start": 0.5, "end": 1.0}, "update": "visit"},
        "consistency": {"weight": {"type": "linear", "start": 0.2, "end": 0.5}, "only_if_better": False},
        "optimizer": {"type": "sgd", "lr": 0.05, "weight_decay": 0.01},
        "runtime": {"batch_size": 2, "workers": 0},
    }
    return parse_config(values | changes, "test")


def batch_of(key: TaskKey, cycle: int, place: int) -> Batch:
    """Noise that depends on head, round and place in the visit, and not on whose turn comes first."""
    random = torch.Generator().manual_seed(zlib.crc32(f"{key} {cycle} {place}".encode()))
    images = torch.randint(0, 256, (2, 1, 64, 64), generator=random, dtype=torch.uint8)
    classes = len(CLASSES[key])
    labels = torch.randint(0, 2, (2, classes), generator=random).float()
    if key.task is not S:
        return Batch(key, images, images, labels, ())
    masks = torch.randint(0, 2, (2, classes, 64, 64), generator=random, dtype=torch.uint8)
    return SegmentationBatch(key, images, images, labels, (), masks=masks)


def batches(plan, start=0):
    """The plan's batches from a step on."""
    for phase in plan.phases:
        for step in range(max(start, phase.first_step), phase.end_step):
            yield batch_of(phase.key, phase.cycle, step - phase.first_step + 10 * (phase.name == "release"))


def trainer_of(config, folder, hooks=()) -> FederatedTrainer:
    torch.manual_seed(0)
    model = FoundationModel(config.model, CLASSES)
    plan = build_plan(config, dict.fromkeys(CLASSES, 4))
    return FederatedTrainer(config, model, plan, lambda step: batches(plan, step), folder, hooks)


def slow_reference(config):
    """Rounds written out: a student, a teacher and an optimizer for each client, means by name."""
    torch.manual_seed(0)
    master = FoundationModel(config.model, CLASSES)
    plan = build_plan(config, dict.fromkeys(CLASSES, 4))
    normalise = Normaliser(config.model, torch.device("cpu"))
    students = [copy.deepcopy(master) for _ in config.federation.clients]
    teachers = [Teacher(student) for student in students]
    optimizers = [build_optimizer(student, config.optimizer) for student in students]
    for cycle in (1, 2, 3):
        for client, cards in enumerate(config.federation.clients):
            student, optimizer = students[client], optimizers[client]
            student.load_state_dict(master.state_dict())
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * lr_schedule(config.optimizer)((cycle - 0.5) / 3)
            for phase in [p for p in plan.phases if p.cycle == cycle and p.key.dataset in cards]:
                with lock(student, phase.trainable):
                    for position in range(phase.steps):
                        batch = batch_of(phase.key, cycle, position + 10 * (phase.name == "release"))
                        optimizer.zero_grad(set_to_none=True)
                        training_losses(student, teachers[client], normalise, batch, phase).loss.backward()
                        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
                        optimizer.step()
                if phase.momentum is not None:
                    teachers[client].update(phase.momentum)
        both = [student.state_dict() for student in students]
        mixed = config.federation.clients.index(("mixed",))
        mean = {}
        for name in both[0]:
            if name.startswith("heads."):
                mean[name] = both[mixed if name.startswith("heads.mixed__") else 1 - mixed][name]
            elif both[0][name].is_floating_point():
                mean[name] = (both[0][name] + both[1][name]) / 2
            else:
                mean[name] = both[1][name]
        master.load_state_dict(mean)
    return master.state_dict(), [teacher.model.state_dict() for teacher in teachers]


def assert_close(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda text, n=name: f"{n}: {text}", **tolerance)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    trainer = trainer_of(config_of(), tmp_path_factory.mktemp("federated"))
    assert trainer.train()
    return trainer


def test_a_round_visits_client_after_client_and_its_curves_are_over_rounds():
    config = config_of([["mixed"], ["organs", "films"]])
    plan = build_plan(config, dict.fromkeys(CLASSES, 4))
    first = list(dict.fromkeys(str(phase.key) for phase in plan.phases if phase.cycle == 1))
    assert first == ["mixed/classification", "mixed/segmentation", "films/classification", "organs/segmentation"]
    for cycle in (1, 2, 3):
        phases = [phase for phase in plan.phases if phase.cycle == cycle]
        momenta = {phase.momentum for phase in phases if phase.momentum is not None}
        assert momenta == {cosine(0.5, 1.0)((cycle - 1) / 3)}
        assert {phase.consistency for phase in phases if phase.name == "release"} == {0.2 + 0.3 * (cycle - 1) / 3}
        assert [phase.closes_cycle for phase in phases] == [False] * (len(phases) - 1) + [True]


def test_master_and_local_teachers_equal_a_slow_reference(finished):
    master, teachers = slow_reference(finished.config)
    assert_close(finished.model.state_dict(), master, rtol=0, atol=2e-6)
    for kept, teacher in zip(finished.kept, teachers, strict=True):
        assert_close(kept["teacher"], teacher, rtol=0, atol=2e-6)
    running_means = [name for name in master if name.endswith("running_mean")]
    assert running_means and all(master[name].abs().sum() > 0 for name in running_means), "buffers are averaged too"


def test_which_client_is_first_does_not_matter_unless_something_leaks(finished, tmp_path, monkeypatch):
    turned = trainer_of(config_of(CLIENTS[::-1]), tmp_path / "turned")
    assert turned.train()
    assert_close(turned.model.state_dict(), finished.model.state_dict(), rtol=0, atol=2e-6)
    leaking = trainer_of(config_of(), tmp_path / "leaking")
    monkeypatch.setattr(leaking.optimizer, "load_state_dict", lambda state: None)
    assert leaking.train()
    ours, theirs = finished.model.backbone.state_dict(), leaking.model.backbone.state_dict()
    assert max((ours[name] - theirs[name]).abs().max() for name in ours if ours[name].is_floating_point()) > 1e-3


def test_a_trunk_is_averaged_over_the_clients_that_use_it():
    clients = [["films"], ["organs"], ["mixed"]]
    model = FoundationModel(config_of().model, CLASSES)
    shares = contributors(model, clients)
    assert shares.keys() == model.state_dict().keys()
    for name, numbers in shares.items():
        owner = next((n for n, cards in enumerate(clients) if name.startswith(f"heads.{cards[0]}__")), None)
        if owner is not None:
            assert numbers == (owner,)
        else:
            assert numbers == ((0, 1, 2) if name.startswith("backbone.") else (1, 2)), name


class StopAt(Hook):
    """Asks the trainer to stop after a step."""

    def __init__(self, step):
        self.step, self.trainer = step, None

    def on_step(self, phase, step):
        if step == self.step:
            self.trainer.stop.ask()


@pytest.mark.parametrize("step", [3, 11])
def test_stopped_inside_a_turn_it_goes_on_bit_identically(finished, tmp_path, step):
    hook = StopAt(step)
    hook.trainer = stopped = trainer_of(finished.config, tmp_path, [hook])
    assert not stopped.train() and stopped.step == step
    assert stopped.turn is not None
    again = trainer_of(finished.config, tmp_path)
    again.resume(load_checkpoint(tmp_path))
    assert again.train()
    for one, other in ((again.model, finished.model), (again.teacher.model, finished.teacher.model)):
        assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("step", [3, 11])
def test_a_new_rate_on_resume_is_that_of_every_client(finished, tmp_path, step):
    """Of the client whose turn it is, and of those whose optimizer waits for its next turn."""
    hook = StopAt(step)
    hook.trainer = stopped = trainer_of(finished.config, tmp_path, [hook])
    assert not stopped.train()
    optimizer = finished.config.optimizer.model_copy(update={"lr": 1e-6, "weight_decay": 0.0})
    again = trainer_of(finished.config.model_copy(update={"optimizer": optimizer}), tmp_path)
    again.resume(load_checkpoint(tmp_path))
    states = [again.optimizer.state_dict(), *(client["optimizer"] for client in again.kept)]
    assert {group["base_lr"] for state in states for group in state["param_groups"]} == {1e-6}
    assert again.train()
    assert not all(torch.equal(finished.model.state_dict()[k], v) for k, v in again.model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"federation": {"clients": [["films"], ["mixed"]]}}, "held by one client"),
        ({"federation": {"clients": [["films", "organs"], ["mixed", "films"]]}}, "held by one client"),
        ({"federation": {"clients": [["films", "organs", "mixed"], []]}}, "held by one client"),
        ({"federation": None}, "go together"),
        ({"schedule": {"type": "cyclic", "cycles": 1}}, "go together"),
    ],
)
def test_clients_that_do_not_hold_every_dataset_once_are_refused(changes, found):
    with pytest.raises(ConfigError, match=found):
        config_of(**changes)


def test_the_command_makes_clients_of_any_configuration(tmp_path, capsys):
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 14, "phantom_masks": 14}, size=64, processes=1)
    text = "_base_ = ['BASE']\ndatasets = [dict(card='phantom_labels'), dict(card='phantom_masks')]\n"
    base = str((Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py").resolve())
    (tmp_path / "config.py").write_text(text.replace("BASE", base))
    arguments = ["federate", str(tmp_path / "config.py"), "--data-root", str(tmp_path / "data")]
    assert main([*arguments, "--work-dir", str(tmp_path / "none")]) == 2
    assert "has no `federation`" in capsys.readouterr().err
    arguments += ["--work-dir", str(tmp_path / "run"), "--client", "phantom_masks", "--client", "phantom_labels"]
    assert main([*arguments, "--cfg-options", "schedule.max_steps=1", "evaluate.final=['val']"]) == 0
    rows = WorkDir(tmp_path / "run").read_metrics()
    assert {row.model for row in rows if row.visit} - {TRIVIAL, EMPTY} == {"student", "teacher", "local"}
    assert {path.name for path in (tmp_path / "run").glob("backbone_*.safetensors")} == {
        "backbone_teacher.safetensors",
        "backbone_client_1.safetensors",
        "backbone_client_2.safetensors",
    }
    assert (tmp_path / "run" / "report.html").is_file()
