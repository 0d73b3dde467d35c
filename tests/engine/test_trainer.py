"""The loop step by step: a plan by hand, a small head, random images; every event, update and checkpoint is counted."""

import copy
import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from foundationx.core.config.load import parse_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.errors import CheckpointError, DamagedCheckpointError, DataError, DivergenceError
from foundationx.core.types import BadSample, Batch, PhaseName, SampleMeta, StepOutput, Task, TaskKey
from foundationx.data.loader import sample_seed
from foundationx.engine import trainer as module
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, step_of
from foundationx.engine.hooks import Hook, Incident
from foundationx.engine.optim import build_optimizer
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.step import training_losses
from foundationx.engine.trainer import Trainer
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_members, lock, lock_groups, task_groups
from tests.helpers.tiny_network import BACKBONE

A, B = TaskKey("a", Task.CLASSIFICATION), TaskKey("b", Task.CLASSIFICATION)
HEADS = {A: ("x", "y"), B: ("z",)}
MODEL = ModelConfig.model_validate({"backbone": BACKBONE})
SEED, TOTAL = 7, 6


def phases():
    """Visit 1: one step of lock and three of release for A; visit 2, which ends the cycle: two of release for B."""
    first = Phase(PhaseName.LOCK, A, 1, 1, 0, 1, lock_groups(A, MODEL), 0.0, None, False, False)
    second = replace(first, name=PhaseName.RELEASE, first_step=1, steps=3, trainable=task_groups(A, MODEL))
    second = replace(second, momentum=0.5, closes_visit=True)
    third = Phase(PhaseName.RELEASE, B, 2, 1, 4, 2, task_groups(B, MODEL), 0.0, 0.25, True, True)
    return first, second, third


def batch_of(step):
    """The batch of a step, which is always the same."""
    key = next(Plan(phases()).from_step(step)).key
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 255, (2, 1, 64, 64), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (2, len(HEADS[key])), generator=generator).float()
    metas = tuple(SampleMeta(key, f"{step}_{number}.png", "p", "", 64, 64) for number in range(2))
    return Batch(key, images, images, labels, metas)


def batches(step):
    return (batch_of(number) for number in range(step, TOTAL))


class Events(Hook):
    """Notes every event; asks to stop after a step, if told to."""

    def __init__(self, stop_after=None):
        self.all, self.records, self.incidents, self.stop_after = [], [], [], stop_after

    def follow(self, trainer):
        self.trainer = trainer
        spy(trainer.teacher, "update", lambda *given: self.all.append(("teacher", given[0])))
        spy(trainer.checkpoint_manager, "save", lambda step, state, final: self.all.append(("save", step, final)))

    def on_start(self, plan, step):
        self.all.append(("start", step))

    def on_phase(self, phase):
        self.all.append(("phase", phase.first_step))

    def on_step(self, phase, step):
        self.all.append(("step", step))
        if step == self.stop_after:
            self.trainer.stop.ask()

    def on_log(self, record):
        self.all.append(("log", record.step))
        self.records.append(record)

    def on_incident(self, incident):
        self.incidents.append(incident)

    def on_visit_end(self, phase):
        self.all.append(("visit", phase.visit, self.trainer.visit))

    def on_cycle_end(self, phase):
        self.all.append(("cycle", phase.cycle))

    def on_end(self, plan, finished):
        self.all.append(("end", finished))


@functools.cache
def untrained():
    torch.manual_seed(0)
    return FoundationModel(MODEL, HEADS)


def make(folder, hooks=(), read=batches, **sections):
    """A trainer of the plan; the teacher's updates and the checkpoints are among the events, if there are hooks."""
    values = {"name": "t", "image_size": 64, "model": MODEL.model_dump(), "schedule": {"cycles": 1}}
    values["datasets"] = [{"card": "a"}, {"card": "b"}]
    values["optimizer"] = {"lr": 1e-3, "warmup": 0, "curve": {"type": "linear", "start": 1, "end": 0}, "fused": False}
    values["runtime"] = {"log_every": 2, "seed": SEED, "checkpoint_minutes": None, "keep_checkpoints": 99}
    values["teacher"] = {"update": "phase", "momentum": 0.5}
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    config = parse_config(values, "test")
    trainer = Trainer(config, copy.deepcopy(untrained()), Plan(phases()), read, folder, hooks)
    for hook in hooks:
        hook.follow(trainer)
    return trainer


def spy(owner, name, note):
    """Calls ``note`` with the arguments before a method."""
    method = getattr(owner, name)

    def noted(*given, **named):
        note(*given, **named)
        return method(*given, **named)

    setattr(owner, name, noted)


def saved(folder):
    return sorted(map(step_of, checkpoints_in(folder)))


def test_every_event_of_a_run_in_its_order(tmp_path):
    events = Events()
    trainer = make(tmp_path, [events], runtime={"checkpoint_every": 4})
    assert (trainer.step, trainer.visit) == (0, 0) and trainer.train() is True
    visit_1 = [("start", 0), ("phase", 0), ("step", 1), ("log", 1), ("phase", 1), ("step", 2), ("log", 2), ("step", 3)]
    visit_1 += [("step", 4), ("log", 4), ("teacher", 0.5), ("visit", 1, 1), ("save", 4, False)]
    visit_2 = [("phase", 4), ("step", 5), ("step", 6), ("log", 6), ("teacher", 0.25), ("visit", 2, 2)]
    assert events.all == [*visit_1, *visit_2, ("save", 6, False), ("cycle", 1), ("end", True)]
    assert saved(tmp_path) == [4, 6] and not events.incidents
    assert [r.lr for r in events.records] == pytest.approx([1e-3 * (1 - (n - 0.5) / 6) for n in (1, 2, 4, 6)])
    assert all(0 <= record.data_wait < 0.9 for record in events.records)


@pytest.mark.parametrize(
    ("every", "accumulate", "steps"), [(2, 1, [2, 4, 6]), (3, 1, [3, 6]), (2, 2, [3, 6]), (None, 1, [6])]
)
def test_checkpoints_are_due_after_so_many_steps_and_wait_for_a_whole_update(tmp_path, every, accumulate, steps):
    """With two batches an update, one is whole after steps 1, 3, 4 and 6: phases end it. Due at 2, it comes at 3."""
    trainer = make(tmp_path, [], runtime={"checkpoint_every": every}, optimizer={"accumulate": accumulate})
    assert trainer.train() and saved(tmp_path) == steps


@pytest.mark.parametrize(("after", "accumulate", "stops"), [(2, 1, 2), (2, 2, 3), (4, 1, 4)])
def test_a_request_to_stop_waits_for_a_whole_update_and_nothing_begins_after_it(tmp_path, after, accumulate, stops):
    events = Events(stop_after=after)
    trainer = make(tmp_path, [events], optimizer={"accumulate": accumulate})
    assert trainer.train() is False and trainer.step == stops
    assert ("phase", 4) not in events.all and events.all[-1] == ("end", False)
    assert events.all[-2] == ("save", stops, True) and (("visit", 1, 1) in events.all) == (stops == 4)


def test_updates_come_after_so_many_batches_and_at_the_end_of_a_phase(tmp_path):
    """At the learning rate of the last of their batches; what a phase locks stays as it is, whatever it was before."""
    trainer, done, kept = make(tmp_path, optimizer={"accumulate": 2}), [], {}
    full = trainer.optimizer.param_groups[0]["base_lr"]
    spy(trainer.optimizer, "step", lambda: done.append((trainer.step, trainer.optimizer.param_groups[0]["lr"] / full)))
    names = group_members(trainer.model)[f"head.{A}"]

    class Keep(Hook):
        def on_phase(self, phase):
            kept[phase.first_step] = copy.deepcopy(trainer.model.state_dict())

    trainer.hooks.append(Keep())
    trainer.train()
    assert [step for step, _ in done] == [1, 3, 4, 6]
    assert [rate for _, rate in done] == pytest.approx([1 - (step - 0.5) / 6 for step in (1, 3, 4, 6)])
    last = trainer.model.state_dict()
    assert all(torch.equal(kept[4][name], last[name]) for name in names) and names
    assert any(not torch.equal(kept[1][name], kept[4][name]) for name in names)


def test_batches_of_an_update_are_counted_from_the_start_of_its_phase(tmp_path, monkeypatch):
    """Three each, in a phase that begins after one step: after steps 4 and 7."""
    trainer, done = make(tmp_path, optimizer={"accumulate": 3}), []
    phase = replace(phases()[1], steps=8)
    weight = next(trainer.model.parameters())
    monkeypatch.setattr(trainer, "_losses", lambda *given: StepOutput(weight.sum(), {"task": torch.zeros(())}))
    monkeypatch.setattr(trainer, "_update", lambda phase: done.append(trainer.step))
    trainer.step = phase.first_step
    for _ in range(6):
        trainer._run_step(phase, iter([batch_of(1)]))
    assert done == [4, 7]


def test_two_batches_give_the_mean_of_their_gradients(tmp_path):
    trainer = make(tmp_path, optimizer={"accumulate": 2, "clip_norm": None})
    (_, phase, _), twin = phases(), copy.deepcopy(trainer.model)
    with lock(twin, phase.trainable):
        for step in (1, 2):
            (training_losses(twin, trainer.teacher, trainer.normalise, batch_of(step), phase).loss / 2).backward()
        expected = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
    found = {}

    def note():
        found.update({n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None})

    spy(trainer.optimizer, "step", note)
    trainer.step = phase.first_step
    with lock(trainer.model, phase.trainable):
        for step in (1, 2):
            assert not found
            trainer._run_step(phase, iter([batch_of(step)]))
    assert found.keys() == expected.keys() and len(found) > 10
    assert all(torch.allclose(found[name], expected[name], atol=1e-7) for name in found)


@pytest.mark.parametrize(
    ("update", "momenta"),
    [("step", [(n - 0.5) / 6 for n in range(1, 5)] + [0.5] + [(n - 0.5) / 6 for n in (5, 6)] + [0.25])]
    + [(name, [0.5, 0.25]) for name in ("phase", "visit", "cycle")],
)
def test_the_teacher_follows_after_steps_if_that_is_asked_for_and_where_the_plan_says(tmp_path, update, momenta):
    """In a lock phase only its head has moved, which is all that the teacher is to look at."""
    trainer, calls = make(tmp_path, teacher={"update": update, "momentum": RISING}), []
    spy(trainer.teacher, "update", lambda momentum, only_if=None, trained=None: calls.append((momentum, trained)))
    trainer.train()
    assert [momentum for momentum, _ in calls] == pytest.approx(momenta)
    locked = [phases()[0].trainable] if update == "step" else []
    assert [trained for _, trained in calls] == locked + [None] * (len(calls) - len(locked))


RISING = {"type": "linear", "start": 0.0, "end": 1.0}


@pytest.mark.parametrize("fused", [True, False])
def test_the_norm_is_looked_at_where_the_optimizer_takes_no_flag(tmp_path, monkeypatch, fused):
    asked = []

    def clipped(trained, limit, *, may_read):
        asked.append((limit, may_read))
        return torch.ones(())

    monkeypatch.setattr(module, "clipped_norm", clipped)
    make(tmp_path, optimizer={"fused": fused, "clip_norm": 2.0}).train()
    assert asked == [(2.0, not fused)] * 6


def test_an_optimizer_that_is_given_is_used_in_place_of_the_configured_one(tmp_path):
    trainer = make(tmp_path)
    assert [group["base_lr"] for group in trainer.optimizer.param_groups] == [1e-3, 1e-3]
    own = build_optimizer(trainer.model, trainer.config.optimizer)
    given = Trainer(trainer.config, trainer.model, trainer.plan, batches, tmp_path, optimizer=own)
    assert given.optimizer is own


class StopHereError(Exception):
    """Ends a step where a test has seen enough."""


@pytest.mark.parametrize(("ranks", "rank", "expected"), [(1, 0, 5), (3, 2, 5 * 3 + 2), (2, 0, 10)])
def test_random_numbers_are_those_of_seed_step_and_rank(tmp_path, monkeypatch, ranks, rank, expected):
    trainer, seeds = make(tmp_path), []

    def note(seed, device):
        seeds.append(seed)
        raise StopHereError

    monkeypatch.setattr(module, "seed_generators", note)
    monkeypatch.setattr(module.distributed, "world_size", lambda: ranks)
    monkeypatch.setattr(module.distributed, "rank", lambda: rank)
    monkeypatch.setattr(trainer, "_read_step", lambda phase, source: (batch_of(5), None, None))
    trainer.step = 5
    with pytest.raises(StopHereError):
        trainer._run_step(phases()[2], iter(()))
    assert seeds == [sample_seed(SEED, expected)]


@pytest.mark.parametrize(("ranks", "gradients", "built"), [(1, "fp32", []), (2, "fp32", [False]), (2, "bf16", [True])])
def test_gradients_are_exchanged_if_there_are_several_ranks(tmp_path, monkeypatch, ranks, gradients, built):
    trainer, made = make(tmp_path, runtime={"gradients": gradients}), []
    monkeypatch.setattr(module.distributed, "world_size", lambda: ranks)
    monkeypatch.setattr(module, "GradientExchange", lambda model, losses, small: made.append(small) or "exchange")
    with trainer._exchanging():
        assert trainer.exchange == ("exchange" if built else None)
    assert made == built and trainer.exchange is None


@pytest.mark.parametrize("ranks", [1, 2])
def test_batches_are_counted_if_several_ranks_share_them(tmp_path, monkeypatch, ranks):
    trainer = make(tmp_path)
    monkeypatch.setattr(module.distributed, "world_size", lambda: ranks)
    monkeypatch.setattr(trainer.model, "head", lambda key: SimpleNamespace(counts=lambda batch: {"known": 3}))
    assert trainer._read(batches(4)).counts == ({} if ranks == 1 else {"images": 2, "known": 3})


def test_samples_that_were_left_out_are_listed_once(tmp_path):
    bad = BadSample("a", "classification", "x.png", "", "torn")

    def read(step):
        return (replace(batch, bad=(bad,)) for batch in batches(step))

    trainer = make(tmp_path, read=read, runtime={"on_bad_sample": "skip"})
    trainer.train()
    assert list(trainer.bad.values()) == [bad] and load_checkpoint(tmp_path).progress["bad"] == [vars_of(bad)]


def vars_of(sample):
    return {name: getattr(sample, name) for name in ("dataset", "task", "file", "row", "reason")}


def failing(after):
    """Batches that end in one that cannot be read."""

    def read(step):
        yield from (batch_of(number) for number in range(step, after))
        raise DataError("x.png", "is torn")

    return read


@pytest.mark.parametrize(("accumulate", "steps"), [(1, [2]), (2, [])])
def test_what_was_trained_before_a_bad_sample_is_saved_if_no_update_is_half_done(tmp_path, accumulate, steps):
    trainer = make(tmp_path, read=failing(2), optimizer={"accumulate": accumulate})
    with pytest.raises(DataError, match="is torn"):
        trainer.train()
    assert saved(tmp_path) == steps and trainer.step == 2


@pytest.mark.parametrize("name", ["asked", "asked_elsewhere"])
def test_a_worker_that_dies_of_the_signal_that_stops_the_run_is_no_error(tmp_path, name):
    trainer = make(tmp_path, read=failing(2))

    class Stop(Hook):
        def on_step(self, phase, step):
            if step == 2:
                trainer.stop = SimpleNamespace(asked=False, asked_elsewhere=False, is_agreed=False)
                setattr(trainer.stop, name, True)

    trainer.hooks.append(Stop())
    assert trainer.train() is False and saved(tmp_path) == [2]


def test_a_state_is_saved_once_and_only_the_last_has_to_be(tmp_path, monkeypatch):
    trainer, written = make(tmp_path), []
    incident = Incident(3, "io", "the disk is full")
    monkeypatch.setattr(trainer.checkpoint_manager, "save", lambda step, state, final: written.append((step, final)))
    monkeypatch.setattr(trainer.checkpoint_manager, "finish", lambda: incident)
    trainer.step = trainer.checkpoint_manager.saved_step = 3
    trainer.save()
    assert written == []
    with pytest.raises(CheckpointError, match="the disk is full"):
        trainer.save(final=True)
    monkeypatch.setattr(trainer.checkpoint_manager, "finish", lambda: None)
    trainer.save(final=True)
    assert written == []
    trainer.step = 4
    trainer.save()
    trainer.save(final=True)
    assert written == [(4, False), (4, True)]


def test_only_the_first_rank_writes(tmp_path, monkeypatch):
    trainer = make(tmp_path)
    trainer.step = 3
    monkeypatch.setattr(module.distributed, "is_main_process", lambda: False)
    trainer.save()
    assert saved(tmp_path) == [] and trainer.checkpoint_manager.saved_step == 3


class Filler:
    """Takes the place of filling: adds nothing, and notes what it is asked."""

    def __init__(self):
        self.asked, self.restored = [], None

    def begin_phase(self, phase, teacher):
        self.asked.append(("phase", phase.first_step))

    def add(self, output, model, teacher, batch, phase, share):
        self.asked.append(share)
        return output

    def state(self):
        return {"limit": 5}

    def restore(self, state):
        self.restored = state


def test_filling_is_asked_at_each_phase_and_step_and_kept(tmp_path):
    trainer = make(tmp_path)
    trainer.filling = Filler()
    trainer.train()
    shares = [number / 6 for number in range(6)]
    asked = [("phase", 0), shares[0], ("phase", 1), *shares[1:4], ("phase", 4), *shares[4:]]
    assert trainer.filling.asked == asked
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.progress["filling"] == {"limit": 5}
    again = make(tmp_path / "again")
    again.resume(checkpoint)
    again.filling = Filler()
    again.resume(checkpoint)
    assert again.filling.restored == {"limit": 5}


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A checkpoint of step 3."""
    folder = tmp_path_factory.mktemp("half")
    events = Events(stop_after=3)
    assert not make(folder, [events]).train()
    return load_checkpoint(folder)


ENDS = [1, 4, 6]


@pytest.mark.parametrize(
    ("stored", "step", "taken"),
    [
        (ENDS, 3, True),
        ([1, 4], 4, True),
        ([1], 1, True),
        ([1, 4], 1, False),
        ([1, 4], 3, False),
        ([1, 4], 5, False),
        ([2, 4], 4, False),
        ([0, 4], 4, False),
        ([2, 4, 6], 6, False),
        ([0, 4, 6], 6, False),
        ([], 0, False),
    ],
)
def test_a_run_goes_on_with_the_same_plan_or_one_that_continues_a_finished_one(tmp_path, half, stored, step, taken):
    trainer, restored = make(tmp_path), []
    trainer._restore = restored.append
    checkpoint = replace(half, step=step, progress=half.progress | {"phase_ends": stored})
    if taken:
        trainer.resume(checkpoint)
        assert restored == [checkpoint]
    else:
        with pytest.raises(CheckpointError, match="the plan's steps differ from the checkpoint's"):
            trainer.resume(checkpoint)
        assert restored == []


@pytest.mark.parametrize(("step", "taken"), [(-1, False), (0, True), (6, True), (7, False)])
def test_a_checkpoint_lies_inside_the_plan(tmp_path, half, step, taken):
    trainer = make(tmp_path)
    if taken:
        trainer.resume(replace(half, step=step))
        assert (trainer.step, trainer.visit, trainer.checkpoint_manager.saved_step) == (step, 0, step)
        assert trainer.last_losses.keys() == {str(A)} and trainer.last_losses[str(A)][0] == 1
    else:
        with pytest.raises(DamagedCheckpointError, match=f"step {step} of 6"):
            trainer.resume(replace(half, step=step))


@pytest.mark.parametrize("part", ["student", "teacher", "progress"])
def test_every_entry_of_a_checkpoint_has_to_be_there(tmp_path, half, part):
    content = dict(getattr(half, part))
    del content["phase_ends" if part == "progress" else next(iter(content))]
    with pytest.raises(DamagedCheckpointError, match="an entry is missing or does not fit"):
        make(tmp_path).resume(replace(half, **{part: content}))


def logged(trainer, phase, loss, finite=True):
    trainer.metric_logger.add({"task": torch.tensor(loss)}, torch.tensor(finite), images=2)
    trainer._log(phase)


def test_a_jump_is_a_loss_by_the_last_of_the_visit_before(tmp_path):
    """By hand. A loss of 0, or below, gives no factor; from more than twice as much on it is an incident."""
    events = Events()
    trainer, phase = make(tmp_path, [events]), phases()[1]
    rows = ((1, 0.25), (1, 0.5), (2, 1.0), (3, 2.5), (3, 0.0), (4, 3.0), (4, -1.0), (5, 4.0))
    for visit, loss in rows:
        logged(trainer, replace(phase, visit=visit), loss)
    assert [record.jump for record in events.records] == [None, None, 2.0, 2.5, None, None, None, None]
    assert [(i.kind, i.dataset, i.task) for i in events.incidents] == [("loss_jump", "a", "classification")]
    logged(trainer, replace(phase, visit=6, key=B), 99.0)
    assert events.records[-1].jump is None, "the first visit of another head"


def test_a_reading_without_a_finite_loss_gives_no_record(tmp_path):
    events = Events()
    trainer = make(tmp_path, [events])
    logged(trainer, phases()[1], float("nan"), finite=False)
    assert events.records == [] and events.incidents == []
    logged(trainer, phases()[1], 1.5)
    assert [record.losses for record in events.records] == [{"task": 1.5}]


def test_steps_that_are_not_finite_are_told_and_too_many_in_a_row_end_the_run(tmp_path):
    events = Events()
    trainer = make(tmp_path, [events], runtime={"bad_steps": 2})
    trainer.model.backbone.register_forward_pre_hook(
        lambda _, inputs: (inputs[0] * float("nan"),) if trainer.step + 1 in (2, 4, 5) else None
    )
    with pytest.raises(DivergenceError, match="step 6, b/classification, release: 2 steps in a row"):
        trainer.train()
    assert [incident.step for incident in events.incidents] == [2, 4, 5]
