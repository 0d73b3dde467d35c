"""Options of a run that change how it is carried out: each is trained with for one short cycle."""

from pathlib import Path

import pytest
import torch

from foundationx.apps.cli import command_demo
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.config.run import CudaConfig, CurveConfig, RuntimeConfig
from foundationx.core.device import (
    computes_in_bf16,
    has_bf16_instructions,
    pick_device,
    set_cuda_arithmetic,
    share_cores,
)
from foundationx.core.errors import CardError, ConfigError, DataError, DivergenceError
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.engine.optim import build_optimizer, lr_schedule, set_learning_rate
from foundationx.phantoms.write import write_phantom_datasets

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
SHORT = {"schedule.cycles": 1, "schedule.max_steps": 2, "evaluate.every": 0, "evaluate.final": []}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 10, size=64, processes=1)
    return folder


def run(phantoms, folder, **options):
    assert train(load_config(CONFIG, SHORT | options), phantoms, folder)
    return load_checkpoint(folder)


def test_steps_of_a_phase_are_capped(phantoms, tmp_path):
    run(phantoms, tmp_path / "run")
    plan = WorkDir(tmp_path / "run").read_json("plan.json")
    assert max(phase["steps"] for visit in plan["visits"] for phase in visit["phases"]) == 2


def test_teacher_of_momentum_zero_updated_every_step_is_the_student(phantoms, tmp_path):
    ended = run(phantoms, tmp_path / "run", **{"teacher.update": "step", "teacher.momentum": 0.0})
    assert all(torch.equal(value, ended.student[name]) for name, value in ended.teacher.items())


def test_teacher_of_momentum_one_stays_where_it_began(phantoms, tmp_path):
    one = run(phantoms, tmp_path / "one", **{"teacher.momentum": 1.0})
    again = run(phantoms, tmp_path / "again", **{"teacher.momentum": 1.0, "optimizer.lr": 1e-2})
    floats = [name for name, value in one.teacher.items() if value.is_floating_point()]
    assert all(torch.equal(one.teacher[name], again.teacher[name]) for name in floats)
    assert not all(torch.equal(one.student[name], again.student[name]) for name in floats)


@pytest.mark.parametrize(
    "options",
    [
        {"runtime.precision": "bf16", "optimizer.fused": True},
        {"model.detection.sharing": "queries", "model.projector": {"features": 12, "hidden": True}},
        {"runtime.workers": 2},
        {"views.classification.teacher": "whole", "views.detection.teacher": "same"},
        {"optimizer.type": "sgd", "optimizer.every_cycle": True, "model.softmax": ["phantom_labels/classification"]},
    ],
    ids=["bf16", "shared decoder and projector", "workers", "views", "sgd by cycle and exclusive classes"],
)
def test_a_run_with_the_option_has_finite_losses_of_every_head(phantoms, tmp_path, options):
    run(phantoms, tmp_path / "run", **options)
    log = WorkDir(tmp_path / "run").read_log()
    assert len({(row["dataset"], row["task"]) for row in log}) == 3
    assert torch.isfinite(torch.tensor([row["losses"]["total"] for row in log])).all()


def test_workers_change_nothing_that_is_learned(phantoms, tmp_path):
    alone, helped = run(phantoms, tmp_path / "0"), run(phantoms, tmp_path / "2", **{"runtime.workers": 2})
    assert all(torch.equal(value, helped.student[name]) for name, value in alone.student.items())


def test_accumulating_batches_makes_fewer_optimizer_steps(phantoms, tmp_path):
    one = run(phantoms, tmp_path / "1")
    two = run(phantoms, tmp_path / "2", **{"optimizer.accumulate": 2})
    most = [max(int(state["step"]) for state in ended.optimizer["state"].values()) for ended in (one, two)]
    assert most[1] == most[0] / 2


def test_tensorboard_holds_losses_and_validation_where_it_is_asked_for(phantoms, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(phantoms, tmp_path / "run", **{"runtime.trackers": ["tensorboard"]})
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    steps = {row["step"] for row in WorkDir(tmp_path / "run").read_log()}
    assert {event.step for event in events.Scalars("run/lr")} == steps
    rows = [
        row for row in WorkDir(tmp_path / "run").read_metrics() if row.class_name == "mean" and row.value is not None
    ]
    names = {f"{row.split}/{row.dataset}/{row.task}/{row.metric}/{row.model}" for row in rows}
    assert names and names <= set(events.Tags()["scalars"])


def test_learning_rate_follows_one_schedule_over_all_steps():
    config = load_config(CONFIG).optimizer.model_copy(
        update={"warmup": 0.1, "curve": CurveConfig(type="cosine", start=1, end=0), "lr_scale": {"backbone": 0.1}}
    )
    model = torch.nn.Module()
    model.backbone, model.heads = torch.nn.Linear(2, 2), torch.nn.ModuleDict()
    optimizer = build_optimizer(model, config)
    factor = lr_schedule(config)
    set_learning_rate(optimizer, factor(0.05))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([config.lr * 0.1 * 0.5] * 2)
    set_learning_rate(optimizer, factor(0.55))  # the middle of the cosine
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([config.lr * 0.1 * 0.5] * 2)
    set_learning_rate(optimizer, factor(0.1))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([config.lr * 0.1] * 2)


def test_losses_that_are_no_numbers_end_the_run_with_head_and_step(phantoms, tmp_path):
    with pytest.raises(DivergenceError, match=r"step \d+, phantom_\w+/\w+, (lock|release): 3 steps in a row"):
        run(phantoms, tmp_path / "run", **{"optimizer.lr": 1e30, "optimizer.clip_norm": 1e30})
    assert not list((tmp_path / "run").glob("checkpoints/*.pt")), "broken weights are not saved"


def test_heads_that_are_to_exclude_classes_must_be_there(phantoms, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'phantom_labels/classification'"):
        run(phantoms, tmp_path / "run", **{"model.softmax": ["phantom_label/classification"]})


def test_reader_options_of_a_run_lie_over_those_of_the_card(phantoms, tmp_path):
    options = [{"card": "phantom_labels", "options": {"classification": {"negative": []}}}]
    with pytest.raises(DataError, match="'No Finding' is not a class of phantom_labels"):
        run(phantoms, tmp_path / "run", datasets=options)
    with pytest.raises(CardError, match="the card has no segmentation"):
        run(phantoms, tmp_path / "run", datasets=[{"card": "phantom_labels", "options": {"segmentation": {}}}])


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"runtime\.device"):
        pick_device("cuda:99")
    assert pick_device("cpu").type == "cpu"


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("is_able", [True, False])
def test_by_default_a_gpu_that_can_computes_in_bf16_and_a_cpu_does_not(monkeypatch, is_able):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: is_able and not including_emulation
    )
    chosen = RuntimeConfig().precision
    assert computes_in_bf16(chosen, CUDA) is is_able and not computes_in_bf16(chosen, CPU)
    assert computes_in_bf16("bf16", CPU) and not computes_in_bf16("fp32", CUDA)


CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="no kernel here names the processor's instructions")
def test_the_processor_has_bf16_where_the_kernel_names_its_instructions():
    flags = set(CPUINFO.read_text().split())
    assert has_bf16_instructions() is bool(flags & {"avx512_bf16", "amx_tile"})


@pytest.mark.parametrize("is_able", [True, False])
def test_the_demo_computes_in_bf16_by_the_processor_not_by_a_stopwatch(monkeypatch, is_able):
    """Else the same command would train in other arithmetic, to another result, on a busy machine."""
    monkeypatch.setattr("foundationx.core.device.has_bf16_instructions", lambda: is_able)
    monkeypatch.setattr("foundationx.core.device.pick_device", lambda name: CPU)
    monkeypatch.setattr("time.process_time", lambda: pytest.fail("a stopwatch"))
    assert command_demo._changes(3) == {"schedule.cycles": 3} | ({"runtime.precision": "bf16"} if is_able else {})


def test_the_arithmetic_of_cuda_is_set_for_cuda_alone():
    def switches():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark

    before = switches()
    try:
        for tf32, benchmark in ((True, False), (False, True)):
            set_cuda_arithmetic(CudaConfig(tf32=tf32, cudnn_benchmark=benchmark), CUDA)
            assert switches() == (tf32, tf32, benchmark)
            set_cuda_arithmetic(CudaConfig(tf32=not tf32, cudnn_benchmark=not benchmark), CPU)
            assert switches() == (tf32, tf32, benchmark)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before


def test_cores_are_left_to_the_workers(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))
        assert share_cores(workers=2) == 4
        assert share_cores(workers=9) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        torch.set_num_threads(3)
        assert share_cores(workers=0) == 3, "what the user has set stands"
    finally:
        torch.set_num_threads(before)
