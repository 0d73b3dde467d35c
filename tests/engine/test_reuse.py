"""Lock phases that use kept features: equal to computing them anew each time, resumable, within their budget."""

import copy
import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, step_of
from foundationx.engine.feature_cache import chunk_of, without_pixels
from foundationx.engine.schedule.plan import Phase
from foundationx.phantoms.write import write_phantom_datasets
from tests.engine.test_ranks import BRIEF, assert_same, final_weights, finish, run_tiny
from tests.helpers.survival import CONFIG, CrashError, Onlooker, equal, tiny_trainer

pytestmark = pytest.mark.slow

BYTES = {Task.CLASSIFICATION: 64 * 4, Task.DETECTION: (64 + 16 + 4 + 1) * 16 * 4, Task.SEGMENTATION: 8 * 16 * 16 * 4}
"""Of one image in ``tiny_config``: the pooled feature, the tokens of strides 8 to 64, the map at stride 4."""

BATCH, USES = 3, 3
OPTIONS = {
    "schedule__cycles": 1,
    "schedule__reuse": {"uses": USES, "memory_gb": 1.0},
    "schedule__max_steps": 7,
    "runtime__batch_size": BATCH,
    "runtime__keep_checkpoints": 99,
    "optimizer__lr": 1e-3,
    **{f"schedule__lock__{task.value}": 3.0 for task in BYTES},
    **{f"schedule__release__{task.value}": 0.5 for task in BYTES},
}


def holding(batches):
    """A budget that holds so many batches of detection, and fewer of segmentation."""
    return {"schedule__reuse": {"uses": USES, "memory_gb": (batches + 0.5) * BATCH * BYTES[Task.DETECTION] / 1e9}}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=96, processes=1)
    return folder


def lock_phase(steps, uses):
    key = TaskKey("a", Task.DETECTION)
    return Phase(PhaseName.LOCK, key, 1, 1, 100, steps, (f"head.{key}",), 0.0, None, False, False, uses)


@pytest.mark.parametrize(
    ("capacity", "batches"),
    [
        (9, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]),
        (2, [0, 1, 0, 1, 0, 1, 0, 1, 2, 2]),
        (1, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]),
    ],
)
def test_batches_are_used_in_rounds_over_blocks(capacity, batches):
    phase = lock_phase(10, 4)
    chunks = [chunk_of(phase, step, capacity) for step in range(100, 110)]
    assert [chunk.first + chunk.place for chunk in chunks] == batches
    assert phase.reads == 3


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 12))
def test_no_batch_is_used_more_than_k_times_and_all_that_are_read_are_used(steps, uses, capacity):
    phase = lock_phase(steps, uses)
    chunks = [chunk_of(phase, step, capacity) for step in range(100, phase.end_step)]
    used = [chunk.first + chunk.place for chunk in chunks]
    assert set(used) == set(range(phase.reads)) and max(map(used.count, used)) <= uses
    for position, chunk in enumerate(chunks):
        assert chunk.size <= capacity and chunk.place < chunk.needed <= chunk.size
        read_before = max([b.first + b.needed for b in chunks[:position]], default=0)
        assert chunk.first + chunk.needed - read_before in (0, 1), "a step reads one batch at most"


class Recompute:
    """Takes the place of kept features: every step reads its batch anew and looks at it anew."""

    def __init__(self, trainer, capacities):
        self.trainer, self.capacities = trainer, capacities

    def start_of(self, plan, step):
        return step

    def of_step(self, phase, step, read):
        if phase.uses == 1:
            return next(iter(self.trainer.batches(step))), None
        number = self.rounds(phase, self.capacities[phase.key.task])[step - phase.first_step]
        return next(iter(self.trainer.batches(phase.first_step + number))), None

    def drop(self):
        pass

    @staticmethod
    def rounds(phase, capacity):
        """Numbers of the batches, spelt out."""
        order = []
        for first in range(0, phase.reads, capacity):
            order += list(range(first, min(first + capacity, phase.reads))) * phase.uses
        return order[: phase.steps]


def everything(trainer):
    return trainer.model.state_dict(), trainer.teacher.model.state_dict(), trainer.optimizer.state_dict()["state"]


@pytest.mark.parametrize("batches", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_training_equals_that_of_features_computed_anew(phantoms, tmp_path, batches):
    """Bit for bit: losses of every step, weights, teacher, optimizer; drop path and denoising are on."""
    seen = {True: Onlooker(), False: Onlooker()}
    trainer = tiny_trainer(phantoms, tmp_path / "a", [seen[True]], **OPTIONS | holding(batches))
    slow = tiny_trainer(phantoms, tmp_path / "b", [seen[False]], **OPTIONS | holding(batches))
    budget = holding(batches)["schedule__reuse"]["memory_gb"] * 1e9
    slow.features = Recompute(slow, {task: int(budget // (BATCH * size)) for task, size in BYTES.items()})
    assert trainer.train() and slow.train()
    assert len(seen[True].records) == trainer.plan.total_steps and seen[True].records == seen[False].records
    assert equal(everything(trainer), everything(slow))


def test_a_bad_image_is_replaced_and_reported_once(phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "data")
    options = OPTIONS | {"runtime__on_bad_sample": "skip", "schedule__max_steps": 4}
    trainer = tiny_trainer(tmp_path / "data", tmp_path / "a", [seen := Onlooker()], **options)
    slow = tiny_trainer(tmp_path / "data", tmp_path / "b", [expected := Onlooker()], **options)
    slow.features = Recompute(slow, dict.fromkeys(BYTES, 1000))
    phase = next(p for p in trainer.plan.phases if p.key.task is Task.DETECTION and p.name is PhaseName.LOCK)
    bad = next(iter(trainer.batches(phase.first_step))).metas[0].image
    path = tmp_path / "data" / phase.key.dataset / bad
    path.write_bytes(path.read_bytes()[:60])
    assert trainer.train() and slow.train()
    assert [entry.file for entry in trainer.bad.values()] == [bad]
    assert seen.records == expected.records


def test_two_ranks_go_on_inside_a_lock_phase_bit_identical(phantoms, tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    changes = ["schedule.reuse.uses=3", "schedule.lock.detection=3", "schedule.cycles=1"]
    kept = ["runtime.checkpoint_every=1", "runtime.keep_checkpoints=99"]
    output, code = finish(run_tiny(2, phantoms, whole, *BRIEF, *changes, *kept))
    assert code == 0, output
    visits = json.loads((whole / "plan.json").read_text())["visits"]
    (phase,) = [p for v in visits for p in v["phases"] if v["task"] == "detection" and p["name"] == "lock"]
    assert phase["steps"] > phase["reads"] > 1
    shutil.copytree(whole, torn)
    for path in checkpoints_in(torn):
        if step_of(path) > phase["first_step"] + phase["reads"] + 1:
            path.unlink()
    output, code = finish(run_tiny(2, phantoms, torn, "--resume", *BRIEF, *changes, *kept))
    assert code == 0, output
    (name, one), (other, two) = final_weights(whole), final_weights(torn)
    assert name == other
    for part in ("student", "teacher", "optimizer"):
        assert_same(one[part], two[part], part)


def test_a_lock_phase_reads_and_looks_once_a_batch(phantoms, tmp_path):
    trainer = tiny_trainer(phantoms, tmp_path, **OPTIONS)
    looks, reads = [], []
    trainer.model.backbone.register_forward_hook(lambda *_: looks.append(trainer.step))
    read = trainer._read
    trainer._read = lambda source: reads.append(trainer.step) or read(source)
    trainer.train()
    for phase in trainer.plan.phases:
        expected = -(-phase.steps // USES) if phase.name is PhaseName.LOCK else phase.steps
        assert sum(phase.first_step <= step < phase.end_step for step in reads) == expected
    assert len(looks) == len(reads) + len(BYTES), "beside the looks that find the size of features"
    assert trainer.features._kept == []
    assert len(trainer.batches(0)) == len(reads), "nothing is decoded that is not needed"


def test_going_on_from_any_step_ends_bit_identical(phantoms, tmp_path):
    options = OPTIONS | holding(2) | {"runtime__checkpoint_every": 1}
    whole = tiny_trainer(phantoms, tmp_path, **options)
    whole.train()
    phase = next(p for p in whole.plan.phases if p.key.task is Task.DETECTION and p.name is PhaseName.LOCK)
    inside = [path for path in checkpoints_in(tmp_path) if phase.first_step < step_of(path) < phase.end_step]
    assert len(inside) == phase.steps - 1
    following = load_checkpoint(tmp_path / f"step_{phase.end_step:08d}.pt")
    for path in inside[::2]:
        trainer = tiny_trainer(phantoms, tmp_path / "again", **options | {"runtime__checkpoint_every": None})
        trainer.resume(load_checkpoint(path))
        source = iter(trainer.batches(trainer.features.start_of(trainer.plan, trainer.step)))
        trainer._run_phase(phase, source)
        assert equal(trainer.model.state_dict(), following.student), step_of(path)
        assert equal(trainer.teacher.model.state_dict(), following.teacher), step_of(path)
        release = next(trainer.plan.from_step(phase.end_step))
        first = next(iter(trainer.batches(release.first_step)))
        assert torch.equal(next(source).images, first.images), "the next phase's batches follow"


def test_a_run_that_crashed_in_a_lock_phase_goes_on_as_if_it_had_not(phantoms, tmp_path):
    options = OPTIONS | {"runtime__checkpoint_every": 1}
    whole = tiny_trainer(phantoms, tmp_path / "whole", **options)
    whole.train()
    phase = next(p for p in whole.plan.phases if p.key.task is Task.DETECTION and p.name is PhaseName.LOCK)
    torn = tiny_trainer(phantoms, tmp_path / "torn", [Onlooker(crash_after=phase.first_step + 5)], **options)
    with pytest.raises(CrashError):
        torn.train()
    again = tiny_trainer(phantoms, tmp_path / "torn", **options)
    again.resume(load_checkpoint(tmp_path / "torn"))
    assert again.step == phase.first_step + 4 and again.train()
    assert equal(everything(again), everything(whole))


def test_features_are_counted_by_hand_and_pixels_are_not_cached(phantoms, tmp_path):
    trainer = tiny_trainer(phantoms, tmp_path, **OPTIONS)
    trainer.model.eval()
    for key in trainer.model.classes:
        assert trainer.features.bytes_per_image(key) == BYTES[key.task]
        assert trainer.features.capacity(key) == 1e9 // (BATCH * BYTES[key.task])
    batch = next(iter(trainer.batches(0)))
    targets = without_pixels(copy.copy(batch))
    assert len(targets) == len(batch) and targets.images.untyped_storage().nbytes() == 0
    assert torch.equal(targets.labels, batch.labels) and targets.metas == batch.metas


def test_a_budget_too_small_for_one_batch_is_reported_before_the_first_step(phantoms, tmp_path):
    trainer = tiny_trainer(phantoms, tmp_path, **OPTIONS | {"schedule__reuse": {"uses": 2, "memory_gb": 1e-6}})
    with pytest.raises(
        ConfigError, match=r"schedule.reuse.memory_gb: 0.001 MB; features of one batch of detection take 0.0163"
    ):
        trainer.train()
    assert trainer.step == 0


def test_plan_and_doctor_print_what_is_cached(phantoms, tmp_path, capsys):
    changes = [f"schedule.reuse.uses={USES}", "schedule.reuse.memory_gb=1e-4", "schedule.lock.detection=50"]
    arguments = [str(CONFIG), "--data-root", str(phantoms), "--cfg-options", *changes]
    a_batch = 4 * BYTES[Task.DETECTION]
    kept = int(1e5 // a_batch)
    size = f"{kept * a_batch / 1e6:.1f} MB"
    line = f"detection: each batch is used {USES} times, {kept} are cached at a time ({size})"
    assert main(["plan", *arguments]) == 0
    assert line in capsys.readouterr().out
    assert main(["doctor", *arguments, "--work-dir", str(tmp_path)]) == 0
    assert line in capsys.readouterr().out
    assert main(["doctor", *arguments, "schedule.reuse.memory_gb=1e-6", "--work-dir", str(tmp_path)]) == FAULT
    assert "raise it, or leave reuse out" in capsys.readouterr().out


def test_off_by_default_and_never_outside_lock_phases(phantoms, tmp_path):
    plain = tiny_trainer(phantoms, tmp_path, schedule__cycles=1)
    assert all(phase.uses == 1 and phase.reads == phase.steps for phase in plain.plan.phases)
    plan = tiny_trainer(phantoms, tmp_path, **OPTIONS).plan
    assert {phase.uses for phase in plan.phases if phase.name is PhaseName.RELEASE} == {1}
    assert {phase.uses for phase in plan.phases if phase.name is PhaseName.LOCK} == {USES}
