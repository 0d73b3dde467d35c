"""The profile: parts by hand, counts by hand, and that profiling leaves the loop as it was."""

import gzip
import json
import time
from pathlib import Path

import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.run.profiling import short_plan
from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine.profile import PARTS, STEPS, HostSyncs, Stopwatches, matrix_speed
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.phantoms.write import write_phantom_datasets

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


class Sleeper:
    def outer(self):
        time.sleep(0.02)
        self.inner()

    def inner(self):
        time.sleep(0.04)


def test_a_part_inside_another_is_counted_once():
    sleeper, clocks = Sleeper(), Stopwatches(torch.device("cpu"))
    undo = [clocks.wrap(sleeper, name, name) for name in ("outer", "inner")]
    sleeper.outer()
    assert 0.02 <= clocks.seconds["outer"] < 0.04 <= clocks.seconds["inner"]
    for restore in undo:
        restore()
    assert vars(sleeper) == {}, "the object is as it was"


def test_waits_are_counted_except_where_paused():
    value = torch.tensor(2.0)
    with HostSyncs() as waits:
        assert value.item() == 2 and value > 1
        with waits.paused():
            value.item()
    assert waits.count == 2


def test_the_speed_of_a_matrix_product_is_that_of_this_machine():
    side, speed = 1024, matrix_speed(torch.device("cpu"), torch.float32)
    matrix = torch.randn(side, side)
    start = time.perf_counter()
    matrix @ matrix
    assert speed > 0.3 * 2 * side**3 / (time.perf_counter() - start)


def phase(dataset, task, name, step):
    return Phase(name, TaskKey(dataset, task), 1, 1, step, 3, (), 0.0, None, False, False)


def test_the_first_phase_of_each_kind_is_profiled():
    lock, release = PhaseName.LOCK, PhaseName.RELEASE
    kinds = [("a", Task.DETECTION, lock), ("a", Task.DETECTION, release), ("b", Task.DETECTION, lock)]
    kinds.append(("b", Task.CLASSIFICATION, release))
    plan = short_plan(Plan(tuple(phase(*kind, 3 * position) for position, kind in enumerate(kinds))))
    assert [(p.key.dataset, p.key.task, p.name) for p in plan.phases] == [kinds[0], kinds[1], kinds[3]]
    assert [(p.first_step, p.steps) for p in plan.phases] == [(0, STEPS), (STEPS, STEPS), (2 * STEPS, STEPS)]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    write_phantom_datasets(folder / "data", {"phantom_labels": 10, "phantom_masks": 10}, size=64, processes=1)
    config = folder / "two.py"
    config.write_text(
        f"_base_ = [{str(CONFIG)!r}]\ndatasets = [dict(card='phantom_labels'), dict(card='phantom_masks')]\n"
    )
    work = ["--data-root", str(folder / "data"), "--work-dir", str(folder / "run")]
    assert main(["train", str(config), *work, "--profile", "--cfg-options", "runtime.batch_size=2"]) == 0
    return folder / "run"


def test_the_command_writes_a_table_and_a_trace_of_each_phase(profiled):
    result = json.loads((profiled / "profile" / "profile.json").read_text())
    assert [row["name"] for row in result] == [
        "phantom_labels/classification release",
        "phantom_masks/segmentation lock",
        "phantom_masks/segmentation release",
    ]
    release, lock = result[0], result[1]
    assert set(release["parts"]) == set(PARTS) and release["parts"]["logging"] > 0
    assert release["parts"]["teacher"] > 0 and lock["parts"]["teacher"] == 0
    assert release["host_syncs"] == lock["host_syncs"] == 0
    assert lock["gflop"] < result[2]["gflop"], "a frozen trunk has no backward and no teacher"
    assert all(0 < row["floor"] < row["milliseconds"] for row in result)
    traces = sorted((profiled / "profile").glob("*.json.gz"))
    assert len(traces) == 3 and json.loads(gzip.decompress(traces[0].read_bytes()))["traceEvents"]
    assert [path.name for path in profiled.iterdir()] == ["profile"], "nothing is trained, evaluated or saved"
