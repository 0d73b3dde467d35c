"""The display of a run: plain lines without a terminal, two lines and summaries on one, time left by rate."""

import io
import itertools
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from foundationx.core.types import PhaseName, Task, TaskKey
from foundationx.engine import progress as module
from foundationx.engine.progress import PLAIN_SECONDS, Progress

CHEST = TaskKey("chest", Task.CLASSIFICATION)
LUNGS = TaskKey("lungs", Task.SEGMENTATION)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test says so."""
    now = SimpleNamespace(seconds=5.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def run(progress, clock, seconds_a_step=1.0, first_step=0, steps=10):
    """Two visits of lock and release, ``steps`` steps a phase."""
    step = first_step
    with progress:
        progress.start(4 * steps, first_step)
        for visit, key in ((1, CHEST), (2, LUNGS)):
            for phase in (PhaseName.LOCK, PhaseName.RELEASE):
                progress.phase(visit, 2, key, phase, steps)
                for _ in range(steps):
                    clock.seconds += seconds_a_step
                    step += 1
                    progress.update(step, {"task": 1 / step, "consistency": 0.5, "bce": 9.0}, 33.4, 0.25)


def plain(width=80):
    stream = io.StringIO()
    return Progress(Console(file=stream, width=width)), stream


def terminal(width=80):
    stream = io.StringIO()
    return Progress(Console(file=stream, width=width, force_terminal=True)), stream


def test_without_a_terminal_there_are_complete_lines_without_control_codes(clock):
    progress, stream = plain()
    run(progress, clock)
    lines = stream.getvalue().splitlines()
    assert not CONTROL.search(stream.getvalue())
    facts = "task 1.000  consistency 0.500  33 img/s  data 25%  ETA 0:00:39"
    assert lines[0] == f"1  visit 1/2 chest/classification lock, 10 steps  {facts}"
    assert lines[-1].startswith("40  visit 2/2 lungs/segmentation release, 10 steps  task 0.025")
    assert lines[-1].endswith("ETA 0:00:00")
    assert "bce" not in stream.getvalue()


def test_plain_lines_keep_their_distance_but_the_last_step_is_reported(clock):
    progress, stream = plain()
    run(progress, clock, seconds_a_step=1.0)
    shown = [int(line.split()[0]) for line in stream.getvalue().splitlines() if line[0].isdigit()]
    assert shown[-1] == 40
    gaps = [later - earlier for earlier, later in itertools.pairwise(shown[:-1])]
    assert gaps and min(gaps) >= PLAIN_SECONDS


def test_slow_visits_end_with_a_summary_in_plain_output_too(clock):
    progress, stream = plain()
    progress.start(2, 0)
    progress.phase(1, 2, CHEST, PhaseName.RELEASE, 1)
    clock.seconds += 4000
    progress.update(1, {"task": 0.5}, 2.0, 0.0)
    clock.seconds += 60
    progress.phase(2, 2, LUNGS, PhaseName.RELEASE, 1)
    assert stream.getvalue().splitlines()[-1] == "visit 1/2 chest/classification done  task 0.500  2 img/s  1:07:40"


def test_time_left_follows_the_measured_rate_not_what_came_before_or_a_resumed_start(clock):
    progress, stream = plain()
    progress.start(100, first_step=900)
    clock.seconds += 500  # the evaluation before the first step
    progress.phase(91, 100, CHEST, PhaseName.LOCK, 100)
    clock.seconds += 40
    progress.update(920, {"task": 1.0}, 1.0, 0.0)
    assert stream.getvalue().splitlines()[-1].endswith("ETA 0:02:40")


def test_on_a_terminal_each_visit_ends_with_its_mean_and_the_bar_is_full(clock):
    progress, stream = terminal()
    run(progress, clock)
    text = CONTROL.sub("\n", stream.getvalue())
    mean = sum(1 / step for step in range(1, 21)) / 20
    assert f"visit 1/2 chest/classification done  task {mean:.3f}  consistency 0.500  33 img/s  0:00:20" in text
    assert text.count(" done  ") == 2
    assert "40/40" in text
    assert "task 0.025  consistency 0.500  33 img/s  data 25%  ETA 0:00:00" in text


def test_the_display_stays_within_the_terminal(clock):
    progress, stream = terminal(width=60)
    long = TaskKey("a_dataset_with_a_name_that_is_longer_than_the_terminal_is_wide", Task.DETECTION)
    with progress:
        progress.start(3, 0)
        progress.phase(1, 1, long, PhaseName.LOCK, 3)
        progress.update(1, {"task": 1.0, "consistency": 123.456}, 12345.0, 0.5)
        progress._bar.refresh()
        drawn = CONTROL.sub("\n", stream.getvalue()).splitlines()
    assert max(map(len, drawn)) <= 60
    assert any("ETA" in line for line in drawn)


def test_names_and_messages_are_no_markup_and_tables_are_complete(clock):
    for make in (plain, terminal):
        progress, stream = make(width=200)
        with progress:
            progress.start(1, 0)
            progress.phase(1, 1, TaskKey("[red]x[/red]", Task.DETECTION), PhaseName.LOCK, 1)
            progress.update(1, {"task": 1.0}, 1.0, 0.0)
            progress.message("wrote [bold]report[/bold].html")
            progress.table("after visit 1", ["head", "AUROC"], [["chest/classification", "0.812"]])
        text = CONTROL.sub("\n", stream.getvalue())
        assert "[red]x[/red]/detection" in text
        assert "wrote [bold]report[/bold].html" in text
        for cell in ("after visit 1", "head", "AUROC", "chest/classification", "0.812"):
            assert cell in text


def test_stop_is_safe_before_the_start_and_twice():
    progress, stream = plain()
    progress.stop()
    progress.stop()
    assert stream.getvalue() == ""
