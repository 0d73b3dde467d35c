"""One unchanged command begins a run or goes on with it; what it refuses, it names, with the command that works."""

import os
import re
import shlex
import signal
import sys
import time

import pytest
import torch

from foundationx.apps.cli.main import FAULT, STOPPED, main
from foundationx.core.config.load import load_config
from foundationx.core.signals import handling, heard, interruptible
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint
from foundationx.engine.signals import StopRequest, listening_for_stop
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG

OPTIONS = ["schedule.max_steps=2", "evaluate.every=0", "evaluate.final=[]", "evaluate.examples=0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of one dataset, and the words of its command."""
    root = tmp_path_factory.mktemp("runs")
    write_phantom_datasets(root / "data", {"phantom_labels": 14}, size=64, processes=1)
    config = root / "one.py"
    config.write_text(f"_base_ = [{str(CONFIG)!r}]\ndatasets = [dict(card='phantom_labels')]\n")
    words = ["train", str(config), "--data-root", str(root / "data"), "--work-dir", str(root / "run")]
    assert main([*words, "--cfg-options", *OPTIONS]) == 0
    return words, root / "run"


def test_the_same_command_after_the_end_says_that_nothing_is_left(finished, capsys):
    words, run = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main([*words, "--cfg-options", *OPTIONS]) == 0
    printed = capsys.readouterr().out
    assert "holds this run, finished at step 4" in printed and "--more-cycles" in printed
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_another_rate_is_refused_with_commands_that_work(finished, capsys):
    """The first goes on with the run as it is, the second takes the change over."""
    words, _ = finished
    changed = [*words, "--cfg-options", *OPTIONS, "optimizer.lr=1e-5"]
    assert main(changed) == FAULT
    printed = capsys.readouterr().err
    assert "optimizer.lr: 0.0001 -> 1e-05" in printed and "same command with --resume changed" in printed
    line = re.search(r"own configuration: foundationx (.*?); to go on", " ".join(printed.split())).group(1)
    assert main(shlex.split(line)) == 0


@pytest.mark.parametrize("name", ["config.py", "config.json"])
def test_the_work_directory_holds_a_configuration_that_goes_on(finished, name, capsys):
    words, run = finished
    assert load_config(run / name) == load_checkpoint(run).config
    assert main([words[0], str(run / name), *words[2:]]) == 0
    assert "holds this run" in capsys.readouterr().out


def test_more_cycles_are_an_option_of_a_finished_run(finished, tmp_path, capsys):
    """The plan goes on where it ended; the same command again finds nothing left."""
    words, run = finished
    assert main([*words, "--cfg-options", *OPTIONS, "schedule.cycles=3"]) == FAULT
    assert "--more-cycles 1" in capsys.readouterr().err
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(run)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(run)).write_bytes(path.read_bytes())
    longer = [*words[:-1], str(copy), "--more-cycles", "1", "--cfg-options", *OPTIONS]
    assert main(longer) == 0
    assert load_checkpoint(copy).step == 6 and load_checkpoint(copy).config.schedule.cycles == 3
    assert "schedule.cycles: 2 -> 3 from step 4 on" in capsys.readouterr().out
    assert [row["step"] for row in WorkDir(copy).read_log()] == [1, 2, 3, 4, 5, 6]
    assert main(longer) == 0
    assert "finished at step 6" in capsys.readouterr().out


def test_more_cycles_need_a_finished_run(finished, tmp_path, capsys):
    words, _ = finished
    new = [*words[:-1], str(tmp_path / "new"), "--more-cycles", "1", "--cfg-options", *OPTIONS]
    assert main(new) == FAULT
    assert "holds no run" in capsys.readouterr().err
    assert main([*words, "--more-cycles", "-1", "--cfg-options", *OPTIONS]) == FAULT


class StopAt:
    """Sends a signal to this process after a step."""

    def __init__(self, monkeypatch, number, step):
        from foundationx.engine.trainer import Trainer

        real = Trainer._log

        def log(trainer, phase):
            real(trainer, phase)
            if trainer.step == step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Trainer, "_log", log)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_the_printed_line_can_be_pasted(finished, tmp_path, monkeypatch, capsys, number):
    """Also after the signal that schedulers send before the time is over."""
    words, run = finished
    with monkeypatch.context() as patched:
        StopAt(patched, number, 1)
        assert main([*words[:-1], str(tmp_path / "run"), "--cfg-options", *OPTIONS]) == STOPPED
    assert load_checkpoint(tmp_path / "run").step == 1
    line = capsys.readouterr().out.rpartition("stopped; go on with: foundationx ")[2]
    assert main(shlex.split(line)) == 0
    ours, theirs = load_checkpoint(tmp_path / "run"), load_checkpoint(run)
    assert all(torch.equal(ours.student[name], value) for name, value in theirs.student.items())
    assert len(checkpoints_in(tmp_path / "run")) > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_all_signals_that_ask_to_stop_do_so(number):
    stop = StopRequest()
    with handling({number: signal.SIG_DFL}):  # a shell's background jobs begin by ignoring SIGINT
        with interruptible(), listening_for_stop(stop.ask):
            os.kill(os.getpid(), number)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        with interruptible() as interruption, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert interruption.requested


def test_a_scheduler_within_the_process_keeps_its_signal():
    taken = []
    with handling({signal.SIGUSR2: lambda number, frame: None}):
        assert signal.SIGUSR2 in heard(), "a handler of ours"
    before = signal.signal(signal.SIGUSR2, lambda number, frame: taken.append(number))
    try:
        with interruptible(), listening_for_stop(StopRequest().ask):
            os.kill(os.getpid(), signal.SIGUSR2)
        assert taken == [signal.SIGUSR2] and signal.SIGUSR2 not in heard()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_second_signal_is_noted_as_an_interruption_of_the_command():
    """What a library turns it into is then no fault: torch.save makes a RuntimeError of an interrupted write."""
    with interruptible() as interruption, listening_for_stop(StopRequest().ask):
        signal.raise_signal(signal.SIGTERM)
        assert not interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert interruption.requested and interruption.number == signal.SIGTERM


class _StoppedWhileTakenDown:
    """Its destructor is where the signal arrives, as in a loader that ends its workers."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_destructor_is_not_lost_and_leaves_no_trace(capsys):
    with interruptible() as interruption, pytest.raises(KeyboardInterrupt):
        _StoppedWhileTakenDown()
        assert interruption.requested
        time.sleep(5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "module", "told"),
    [
        (AttributeError("_shutdown"), "torch.utils.data.dataloader", 0),
        (AttributeError("_shutdown"), "elsewhere", 1),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."), "torch.utils.data.dataloader", 0),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."), "logging", 0),
    ],
)
def test_a_loader_that_is_taken_down_leaves_no_trace(module, told, error, monkeypatch):
    """A loader made by half has no ``_shutdown``; torch raises RuntimeError for a dead child wherever the process is.

    Errors of other destructors are told.
    """
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: printed.append(str(found.exc_value)))

    def end(loader):
        raise error

    end.__module__ = module
    with interruptible():
        type("Loader", (), {"__del__": end})()
    assert len(printed) == told
