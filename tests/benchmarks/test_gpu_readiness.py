"""The script that a GPU has to pass: at tiny size on the CPU, and its comparison finds what it looks for."""

import gpu_readiness
import pytest
import torch

CPU = torch.device("cpu")


def test_every_part_runs_and_holds_against_itself():
    found = gpu_readiness.measure(CPU, gpu_readiness.SIZES["tiny"], 0.0)
    assert [row for part in ("correctness", "one rank", "speed") for row in found[part]] == [
        {"not reached": "the time was over"}
    ] * 3
    rows = list(gpu_readiness.correctness(CPU))
    assert [row["task"] for row in rows] == ["classification", "detection", "segmentation"]
    assert all(row["holds"] and row["loss"] == row["gradient"] == 0 and row["parameters"] > 20 for row in rows)
    assert list(gpu_readiness.one_rank(CPU)) == [{"backend": "gloo", "holds": True}]


def test_a_device_that_computes_otherwise_does_not_hold(monkeypatch):
    result = gpu_readiness.Network.result
    first = []

    def otherwise(network, key):
        """The network that is built first stands for the device."""
        loss, gradients = result(network, key)
        first[:] = first or [network]
        name = next(iter(gradients))
        return (loss, gradients | {name: gradients[name] * 1.01}) if network is first[0] else (loss, gradients)

    monkeypatch.setattr(gpu_readiness.Network, "result", otherwise)
    rows = list(gpu_readiness.correctness(CPU))
    assert not any(row["holds"] for row in rows) and rows[0]["gradient"] == pytest.approx(0.01, rel=1e-3)


def test_a_part_that_fails_is_named_and_the_next_is_measured(monkeypatch):
    def broken(device):
        raise RuntimeError("no kernel image")
        yield

    monkeypatch.setattr(gpu_readiness, "correctness", broken)
    monkeypatch.setattr(gpu_readiness, "speeds", lambda device, size: (row for row in [{"images/s": 2.0}]))
    found = gpu_readiness.measure(CPU, gpu_readiness.SIZES["tiny"], 60.0)
    assert found["correctness"] == [{"error": "RuntimeError: no kernel image", "holds": False}]
    assert found["one rank"][0]["holds"] and "images/s" in str(found["speed"])


@pytest.mark.slow
def test_speeds_are_measured_in_three_ways(capsys):
    rows = list(gpu_readiness.speeds(CPU, gpu_readiness.SIZES["tiny"]))
    assert len(rows) == 9 and all(row["images/s"] > 0 and row["host waits"] is None for row in rows)
    assert all(0 < row["share of matrix speed"] < 1.5 for row in rows if "compiled" not in row["way"])
    gpu_readiness.show({"device": "x", "torch": "y", "cuda": None, "correctness": [], "one rank": [], "speed": rows})
    assert "bf16, compiled" in capsys.readouterr().out
