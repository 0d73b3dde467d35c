"""The script that a GPU has to pass: at tiny size on the CPU, and its comparison finds what it looks for."""

import gpu_readiness
import gpu_steps
import pytest
import torch

from foundationx.core.types import Task

CPU = torch.device("cpu")


def test_every_part_runs_and_holds_against_itself():
    found = gpu_readiness.measure(CPU, gpu_readiness.SIZES["tiny"], 0.0)
    assert [row for part in gpu_readiness.PARTS for row in found[part]] == [{"not reached": "the time was over"}] * 5
    rows = list(gpu_readiness.correctness(CPU))
    assert [row["task"] for row in rows] == ["classification", "detection", "segmentation"]
    assert all(row["holds"] and row["loss"] == row["gradient"] == 0 and row["parameters"] > 20 for row in rows)
    assert list(gpu_readiness.one_rank(CPU)) == [{"backend": "gloo", "holds": True}]


def test_a_device_that_computes_otherwise_does_not_hold(monkeypatch):
    result = gpu_readiness.result
    first = []

    def otherwise(network, key):
        """The network that is built first stands for the device."""
        loss, gradients = result(network, key)
        first[:] = first or [network]
        name = next(iter(gradients))
        return (loss, gradients | {name: gradients[name] * 1.01}) if network is first[0] else (loss, gradients)

    monkeypatch.setattr(gpu_readiness, "result", otherwise)
    rows = list(gpu_readiness.correctness(CPU))
    assert not any(row["holds"] for row in rows) and rows[0]["gradient"] == pytest.approx(0.01, rel=1e-3)


def test_a_part_that_fails_is_named_and_the_next_is_measured(monkeypatch):
    def broken(device):
        raise RuntimeError("no kernel image")
        yield

    monkeypatch.setattr(gpu_readiness, "correctness", broken)
    for name in ("steps", "loops", "reading"):
        monkeypatch.setattr(gpu_readiness, name, lambda device, size: (row for row in [{"images/s": 2.0}]))
    found = gpu_readiness.measure(CPU, gpu_readiness.SIZES["tiny"], 60.0)
    assert found["correctness"] == [{"error": "RuntimeError: no kernel image", "holds": False}]
    assert found["one rank"][0]["holds"] and "images/s" in str(found["speed"])


def test_the_steps_of_a_gpu_cover_sizes_and_arithmetic_and_compiled_ones_come_last():
    rows = gpu_steps.cases(gpu_readiness.SIZES["full"])
    of = {(case.task.value, case.images, case.arithmetic) for case in rows}
    assert {("classification", n, way) for n in (32, 128, 256) for way in ("fp32", "tf32", "bf16")} <= of
    assert {("detection", n, "bf16") for n in (8, 24)} <= of
    assert {(case.fused, case.compiled) for case in rows} == {(a, b) for a in (False, True) for b in (False, True)}
    assert [case.compiled for case in rows] == sorted(case.compiled for case in rows)


@pytest.mark.slow
def test_every_case_is_measured(capsys):
    size = gpu_readiness.SIZES["tiny"]
    rows = list(gpu_steps.steps(CPU, size))
    assert len(rows) == len(gpu_steps.cases(size)) and all(row["images/s"] > 0 for row in rows)
    assert all(row["host waits"] is row["launches"] is None for row in rows), "a CPU has none"
    assert all(0 < row["share of matrix speed"] < 1.5 for row in rows if not row["compiled"])
    others = list(gpu_steps.loops(CPU, size)), list(gpu_steps.reading(CPU, size))
    assert [row["times"] > 0 for row in others[0]] == [True] * 3 and others[1][0]["images/s"] > 0
    nothing = {part: [] for part in gpu_readiness.PARTS}
    gpu_readiness.show({"device": "x", "torch": "y", "cuda": None} | nothing | {"speed": rows})
    assert "share of matrix speed" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_that_does_not_suffice_ends_one_case_alone(monkeypatch):
    timed_step = gpu_steps.timed_step

    def too_large(network, case, runs, peaks):
        if case.task is Task.CLASSIFICATION:
            raise torch.OutOfMemoryError
        return timed_step(network, case, 1, peaks)

    monkeypatch.setattr(gpu_steps, "timed_step", too_large)
    monkeypatch.setattr(gpu_steps, "cases", lambda size: [gpu_steps.Case(task, 2, "bf16") for task in size.images])
    rows = list(gpu_steps.steps(CPU, gpu_readiness.SIZES["tiny"]))
    assert [row.get("out of memory", False) for row in rows] == [True, False, False]
