"""Steps whose numbers are not finite leave no trace; a run that crashes goes on as if it had not."""

import resource
from dataclasses import replace

import pytest
import torch

from foundationx.core.config.load import load_config
from foundationx.core.errors import DivergenceError
from foundationx.core.run_files import read_lines
from foundationx.engine.checkpoint import checkpoints_in, newest_good_checkpoint, step_of
from foundationx.engine.logs import RowFile
from foundationx.engine.metric_logger import MetricLogger
from foundationx.engine.nonfinite import NonFiniteCheck
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.host_traffic import HostTraffic
from tests.helpers.survival import CONFIG, CrashError, Onlooker, Snapshots, equal, tiny_trainer

SHORT = {"schedule__cycles": 1, "schedule__max_steps": 2, "runtime__keep_checkpoints": 9}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


def spoil_images(trainer, steps):
    """The backbone sees NaN in these steps (counted from 1)."""

    def spoil(module, inputs):
        return (inputs[0] * float("nan"),) if trainer.step + 1 in steps else None

    trainer.model.backbone.register_forward_pre_hook(spoil)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_without_finite_loss_leaves_no_trace(phantoms, tmp_path, fused):
    """Weights, running statistics, teacher and optimizer are bit for bit what they were; the next step changes them."""
    snapshots, onlooker = Snapshots(), Onlooker()
    options = SHORT | {"teacher__update": "step", "runtime__log_every": 4}
    trainer = tiny_trainer(phantoms, tmp_path, [snapshots, onlooker], fused=fused, **options)
    total = trainer.plan.total_steps
    bad = {2, 4, total}
    spoil_images(trainer, bad)
    assert trainer.train()
    for step in range(2, total + 1):
        assert equal(snapshots.taken[step - 1], snapshots.taken[step]) == (step in bad), step
    assert [incident.step for incident in onlooker.incidents] == sorted(bad)
    for _, losses, _ in onlooker.records:
        assert all(torch.isfinite(torch.tensor(list(losses.values()))))


def test_an_incident_names_head_step_and_images(phantoms, tmp_path):
    onlooker = Onlooker()
    trainer = tiny_trainer(phantoms, tmp_path, [onlooker], **SHORT)
    spoil_images(trainer, {2})
    trainer.train()
    (incident,) = onlooker.incidents
    phase = next(trainer.plan.from_step(1))
    batches = iter(trainer.batches(1))
    assert incident.images == tuple(meta.image for meta in next(batches).metas)
    assert (incident.dataset, incident.task) == (phase.key.dataset, phase.key.task.value)
    assert (incident.step, incident.kind) == (2, "nonfinite") and "loss is not finite" in incident.message
    assert str(incident).startswith(f"step 2, {phase.key}: ") and incident.images[0] in str(incident)


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_alone_that_is_not_finite_is_detected(phantoms, tmp_path, clip):
    """Two batches make one optimizer step: both are named, and nothing of either is taken."""
    snapshots, onlooker = Snapshots(), Onlooker()
    options = SHORT | {"optimizer__accumulate": 2, "optimizer__clip_norm": clip, "schedule__max_steps": 4}
    trainer = tiny_trainer(phantoms, tmp_path, [snapshots, onlooker], **options)
    release = next(phase for phase in trainer.plan.phases if phase.name == "release" and phase.steps >= 2)
    bad = release.first_step + 2
    parameter = next(trainer.model.backbone.parameters())
    parameter.register_hook(lambda gradient: gradient * float("inf") if trainer.step + 1 == bad else None)
    trainer.train()
    assert [incident.step for incident in onlooker.incidents] == [bad - 1, bad]
    assert all("gradient is not finite" in incident.message for incident in onlooker.incidents)
    assert equal(snapshots.taken[bad - 1][0], snapshots.taken[bad][0]), "weights"
    assert equal(snapshots.taken[bad - 1][2], snapshots.taken[bad][2]), "optimizer"


def test_too_many_in_a_row_end_the_run_and_the_last_checkpoint_stays(phantoms, tmp_path):
    onlooker = Onlooker()
    options = SHORT | {"runtime__bad_steps": 3, "runtime__log_every": 5, "runtime__checkpoint_every": 2}
    trainer = tiny_trainer(phantoms, tmp_path, [onlooker], **options)
    spoil_images(trainer, {1, 2, 4, 5, 6, 7})
    with pytest.raises(DivergenceError, match=r"step \d+, phantom_\w+/\w+, \w+: 3 steps in a row without a finite"):
        trainer.train()
    assert {1, 2, 4, 5, 6} <= {incident.step for incident in onlooker.incidents}
    assert trainer.step <= 10, "found when the losses are read, at the latest"
    assert max(map(step_of, checkpoints_in(tmp_path))) < trainer.step


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d(2), torch.nn.LayerNorm(2)])
def test_the_host_waits_for_nothing_where_the_optimizer_takes_a_flag(norm):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), norm)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    nonfinite = NonFiniteCheck(model, optimizer, limit=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    class Empty:
        key, metas = None, ()

    with HostTraffic() as traffic:
        nonfinite.begin()
        loss = model(torch.full((4, 3), float("nan"))).sum()
        nonfinite.check(1, Empty, loss)
        loss.backward()
        nonfinite.update(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    assert not any(traffic.calls[name] for name in HostTraffic.WAITING), traffic.calls
    assert equal(before, dict(model.state_dict())), "running statistics too"


def test_means_leave_out_what_is_not_finite():
    metric_logger = MetricLogger()
    for value in (1.0, float("nan"), 4.0, float("inf"), 1.0):
        part = torch.tensor(value)
        metric_logger.add({"task": part}, torch.isfinite(part), images=2)
    assert metric_logger.read()[0] == {"task": 2.0}
    metric_logger.add({"task": torch.tensor(float("nan"))}, torch.tensor(False), images=2)
    assert metric_logger.read()[0] == {}


UNIHEAD = load_config(CONFIG.with_name("tiny_unihead.py")).model_dump()
UNIHEADS = {"model__heads": UNIHEAD["model"]["heads"], "datasets": UNIHEAD["datasets"]}
COURSES = {1: {}, 2: {"optimizer__accumulate": 2}, "unihead": UNIHEADS}
"""Runs that crash: steps without and with accumulation, and UniHead for every task."""


@pytest.fixture(scope="module")
def undisturbed(phantoms, tmp_path_factory):
    """Records and final state of a run that nobody disturbed."""
    known = {}

    def run(name):
        if name not in known:
            onlooker = Onlooker()
            trainer = tiny_trainer(phantoms, tmp_path_factory.mktemp("whole"), [onlooker], **course(name))
            trainer.train()
            known[name] = onlooker.records, whole_state(trainer)
        return known[name]

    return run


def course(name):
    steps = {"schedule__cycles": 2, "schedule__max_steps": 3}
    return steps | {"runtime__log_every": 4, "runtime__checkpoint_every": 2} | COURSES[name]


def whole_state(trainer):
    return trainer.model.state_dict(), trainer.teacher.model.state_dict(), trainer.optimizer.state_dict()["state"]


@pytest.mark.slow
@pytest.mark.parametrize(("crashes", "name"), [((3,), 1), ((5, 12), 2), ((6, 7, 16), 1), ((5, 12), "unihead")])
def test_after_crashes_everything_is_as_if_nothing_had_been(phantoms, tmp_path, undisturbed, crashes, name):
    """Weights, teacher, optimizer and every record, though checkpoints fall inside visits and between records."""
    records = []
    for crash in (*crashes, None):
        onlooker = Onlooker(crash)
        trainer = tiny_trainer(phantoms, tmp_path, [onlooker], **course(name))
        if checkpoints_in(tmp_path):
            trainer.resume(newest_good_checkpoint(tmp_path)[0])
        records = [record for record in records if record[0] <= trainer.step]
        if crash is None:
            assert trainer.train()
        else:
            with pytest.raises(CrashError):
                trainer.train()
        records += onlooker.records
    expected_records, expected_state = undisturbed(name)
    assert records == expected_records
    assert equal(whole_state(trainer), expected_state)


def test_a_jump_is_the_first_loss_of_a_visit_by_the_last_of_the_one_before(phantoms, tmp_path, undisturbed):
    records, _ = undisturbed(1)
    plan = tiny_trainer(phantoms, tmp_path, **course(1)).plan
    last, expected = {}, []
    for step, losses, _ in records:
        phase = next(plan.from_step(step - 1))
        visit, loss = last.get(phase.key, (None, None))
        expected.append(losses["task"] / loss if visit not in (None, phase.visit) else None)
        last[phase.key] = (phase.visit, losses["task"])
    assert [jump for *_, jump in records] == expected
    assert sum(jump is not None for jump in expected) == len(last), "one a head: its second visit"


def test_a_loss_that_has_more_than_doubled_since_the_last_visit_is_an_incident(phantoms, tmp_path):
    """By hand: 0.5 at the end of visit 1; 1.0 is twice as much and no incident, 2.125 times 1.0 is one."""
    onlooker = Onlooker()
    trainer = tiny_trainer(phantoms, tmp_path, [onlooker], **SHORT)
    phase = next(trainer.plan.from_step(0))
    reported = []
    for visit, loss in ((1, 0.25), (1, 0.5), (4, 1.0), (7, 2.125), (7, 99.0), (10, 3.0)):
        trainer.step += 1
        trainer.metric_logger.add({"task": torch.tensor(loss)}, torch.tensor(True), images=4)
        trainer._log(replace(phase, visit=visit))
        reported.append([incident.kind for incident in onlooker.incidents])
        onlooker.incidents.clear()
    assert reported == [[], [], [], ["loss_jump"], [], []], "inside a visit a loss may do what it likes"
    assert [jump for *_, jump in onlooker.records] == [None, None, 2.0, 2.125, None, 3.0 / 99.0]


def test_the_incident_of_a_jump_names_step_head_and_factor(phantoms, tmp_path):
    onlooker = Onlooker()
    trainer = tiny_trainer(phantoms, tmp_path, [onlooker], **SHORT)
    phase = next(trainer.plan.from_step(0))
    for visit, loss in ((1, 1.0), (2, 2.5)):
        trainer.step = 10 * visit
        trainer.metric_logger.add({"task": torch.tensor(loss)}, torch.tensor(True), images=4)
        trainer._log(replace(phase, visit=visit))
    (incident,) = onlooker.incidents
    assert (incident.step, incident.kind) == (20, "loss_jump")
    assert (incident.dataset, incident.task) == (phase.key.dataset, phase.key.task.value)
    assert incident.message == "task loss is 2.5 times its value at the end of the head's last visit"


def test_rows_that_the_disk_does_not_take_come_with_a_later_one(tmp_path):
    rows = RowFile(tmp_path / "log.jsonl")
    written = [{"step": step, "text": "x" * 60} for step in range(6)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = []
    for step, row in enumerate(written):
        limit = 200 if step in (2, 3) else soft  # two rows and a half
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            taken.append(rows.add(row))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        whole_lines = (tmp_path / "log.jsonl").read_text()
        assert whole_lines.endswith("\n") and whole_lines.count("\n") == len(read_lines(tmp_path / "log.jsonl"))
    assert taken == [True, True, False, False, True, True]
    assert read_lines(tmp_path / "log.jsonl") == written
