"""What the portal says of runs: read from their folders as they grow, whoever started them; damaged ones included."""

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from foundationx.apps.portal import run_log, runs
from foundationx.apps.portal.jobs import Jobs, progress_of
from foundationx.apps.portal.place import BusyError, OutsideError, Place
from foundationx.apps.portal.run_log import RunLog
from foundationx.apps.portal.runs import Runs, job_name
from foundationx.core.errors import DiskError
from foundationx.core.workdir import WorkDir
from tests.helpers.portal_process import wait_until
from tests.helpers.run_folders import log_row, metric_row, write_run

HEAD, OTHER = "phantom_labels/classification", "phantom_boxes/detection"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "work").mkdir()
    return Place(tmp_path / "data", tmp_path / "work")


@pytest.fixture
def every(place):
    return Runs(place, Jobs(place.own / "jobs"))


HOLD = """
import fcntl, os, signal, sys
stream = open(sys.argv[1], "ab")
fcntl.lockf(stream, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[2], "w").write("asked"), sys.exit(130)))
print("held", flush=True)
signal.pause()
"""


@contextmanager
def holding(folder, note, *names):
    """A process that holds a run folder's lock as training does."""
    words = [sys.executable, "-c", HOLD, str(folder / ".lock"), str(note), *names]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_holder_of_a_run_folder_is_known_and_not_disturbed(tmp_path):
    folder = write_run(tmp_path / "run", [log_row(1)])
    work = WorkDir(folder)
    assert work.holder() is None  # no lock was ever taken
    (folder / ".lock").touch()
    assert work.holder() is None
    with holding(folder, tmp_path / "note") as process:
        assert work.holder() == process.pid
        with open(folder / ".lock", "ab") as stream, pytest.raises(BlockingIOError):
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is held still
    assert work.holder() is None


def test_a_lock_that_is_a_link_names_nobody(tmp_path):
    """Else a run folder of others could have the portal stop any process that holds any lock."""
    folder, mine = write_run(tmp_path / "run", []), write_run(tmp_path / "mine", [])
    (folder / ".lock").symlink_to(mine / ".lock")
    with holding(mine, tmp_path / "note"):
        assert WorkDir(mine).holder() is not None
        assert WorkDir(folder).holder() is None


def test_states_of_a_run(place, every, tmp_path):
    write_run(place.work_dirs / "done", [log_row(40)], complete=True)
    write_run(place.work_dirs / "half", [log_row(10)])
    assert (every.state("done"), every.state("half")) == ("finished", "stopped")
    with holding(place.work_dirs / "half", tmp_path / "note"):
        assert every.state("half") == "running"
    assert every.state("half") == "stopped"


def test_stop_asks_the_process_that_holds_the_folder(place, every, tmp_path):
    folder = write_run(place.work_dirs / "run", [log_row(1)])
    with pytest.raises(BusyError, match="nothing trains"):
        every.stop("run")
    with holding(folder, tmp_path / "note", "foundationx train") as process:
        every.stop("run")
        assert process.wait(20) == 130
    assert (tmp_path / "note").read_text() == "asked"


def test_stop_signals_no_process_that_is_not_ours(place, every, tmp_path):
    folder = write_run(place.work_dirs / "run", [log_row(1)])
    with holding(folder, tmp_path / "note", "something else") as process:
        with pytest.raises(DiskError, match="none of foundationx"):
            every.stop("run")
        time.sleep(0.2)
        assert process.poll() is None


def test_a_run_is_told_from_its_files(place, every):
    rows = [log_row(step, loss=1 / step, phase="lock" if step <= 5 else "release") for step in range(1, 11)]
    metrics = [metric_row(HEAD, "AUROC", 0.7, "student", 1), metric_row(HEAD, "AUROC", 0.6, "trivial", 1)]
    write_run(place.work_dirs / "a" / "run", rows, metrics=metrics)
    assert every.names() == ["a/run"]
    found = every.detail("a/run")
    assert (found["step"], found["total_steps"], found["state"]) == (10, 40, "stopped")
    assert found["curves"][HEAD] == [(step, 1 / step, "lock" if step <= 5 else "release") for step in range(1, 11)]
    assert found["now"]["head"] == HEAD and found["now"]["phase"] == "release"
    assert found["now"]["seconds_left"] == 30 * 8 / 20  # steps that are left, images of a step, images a second
    assert every.bands("a/run") == {HEAD: [[0, 5]], OTHER: [[20, 25]]}
    assert found["command"] is None and found["output"] == "" and found["faults"] == {}


def test_headlines_are_the_newest_on_test_of_the_teacher(place, every):
    metrics = [
        metric_row(HEAD, "AUROC", 0.5, "student", 0),
        metric_row(HEAD, "AUROC", 0.9, "teacher", 3, "test"),
        metric_row(HEAD, "AUROC", 0.8, "student", 3, "test"),
        metric_row(HEAD, "AUROC", 0.99, "teacher", 3, "val"),
        metric_row(HEAD, "AUROC", 0.95, "teacher", 3, "test", class_name="Nodule"),
        metric_row(HEAD, "AUPRC", 0.97, "teacher", 3, "test"),
        metric_row(HEAD, "AUROC", 0.9, "trivial", 3, "test"),
        metric_row(OTHER, "AP40", 0.3, "teacher", 2),
        metric_row(OTHER, "AP40", 0.1, "trivial", 2),
    ]
    folder = write_run(place.work_dirs / "run", [], metrics=metrics)
    first, second = every.headlines(folder)
    assert (first.head, first.value, first.split, first.model) == (HEAD, 0.9, "test", "teacher")
    assert first.trivial == 0.9 and first.is_low
    assert (second.value, second.trivial, second.is_low) == (0.3, 0.1, False)


def test_the_log_is_read_as_it_grows_and_from_its_beginning_when_it_is_another_file(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    log.update()
    assert log.last is None and log.fault is None
    path.write_text(json.dumps(log_row(1)) + "\n" + json.dumps(log_row(2))[:20])
    log.update()
    assert log.last["step"] == 1 and log.fault is None  # the incomplete line is not counted yet
    reads = []
    path.write_text(json.dumps(log_row(1)) + "\n" + json.dumps(log_row(2)) + "\n")
    monkeypatch.setattr(RunLog, "_add", lambda self, line, add=RunLog._add: (reads.append(line), add(self, line)))
    log.update()
    assert log.last["step"] == 2 and len(reads) == 1  # the first row was not read again
    other = tmp_path / "other"
    other.write_text(json.dumps(log_row(7)) + "\n")
    os.replace(other, path)  # as a run that goes on writes it
    log.update()
    assert [step for step, _, _ in log.curves[HEAD].points] == [7]
    path.write_text("")
    log.update()
    assert log.last is None


def test_a_long_log_keeps_as_many_points_as_a_chart_can_show(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(log_row(step, loss=step / 1000)) + "\n" for step in range(1, 3001)))
    log = RunLog(path)
    log.update()
    points = log.curves[HEAD].points
    assert run_log.MOST_POINTS / 4 < len(points) <= run_log.MOST_POINTS
    assert all(loss == step / 1000 for step, loss, _ in points)
    steps = [step for step, _, _ in points]
    assert steps[0] == 1 and steps == sorted(set(steps)) and 3000 - steps[-1] < 20
    assert log.speed() == pytest.approx(20.0)


def test_damaged_files_are_one_clear_line_each(place, every):
    folder = write_run(place.work_dirs / "run", [log_row(1)], plan="{", metrics="[1, 2]", run="[]")
    with open(folder / "log.jsonl", "ab") as stream:
        stream.write(b"\xff\xfe\n{}\n[1]\n" + b"x" * 100 + b"\n" + json.dumps(log_row(2)).encode() + b"\n")
    (folder / "incidents.jsonl").write_text("nonsense\n")
    faults = every.detail("run")["faults"]
    assert faults["log.jsonl"] == "4 of 6 lines make no sense"
    assert set(faults) == {"log.jsonl", "plan.json", "metrics.json", "run.json", "incidents.jsonl"}
    assert all(text and "\n" not in text for text in faults.values())
    found = every.detail("run")
    assert found["step"] == 2 and found["total_steps"] is None and found["headlines"] == []
    assert every.bands("run") == {}


def test_files_that_are_links_pipes_or_too_large_are_not_read(place, every, tmp_path, monkeypatch):
    folder = write_run(place.work_dirs / "run", [log_row(1)])
    (tmp_path / "secret.json").write_text(json.dumps({"visits": [], "total_steps": 7}))
    (folder / "plan.json").unlink()
    (folder / "plan.json").symlink_to(tmp_path / "secret.json")
    (folder / "metrics.json").unlink(missing_ok=True)
    os.mkfifo(folder / "metrics.json")
    found = every.detail("run")
    assert found["total_steps"] is None
    assert "link" in found["faults"]["plan.json"] and "no regular file" in found["faults"]["metrics.json"]
    (folder / "log.jsonl").unlink()
    (folder / "log.jsonl").symlink_to(tmp_path / "secret.json")
    assert "cannot be read" in every.detail("run")["faults"]["log.jsonl"]
    monkeypatch.setattr(runs, "MOST_FILE", 10)
    assert "more than 10 bytes" in every.detail("run")["faults"]["run.json"]


def test_a_line_without_end_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "LONGEST_LINE", 50)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 200)
    log = RunLog(path)
    log.update()
    assert log.fault == "1 of 1 lines make no sense"
    with open(path, "ab") as stream:
        stream.write(b"\n")
    log.update()
    assert log.lines == 2


def test_folders_that_hold_no_run_are_not_listed(place, every, tmp_path):
    (place.work_dirs / "empty").mkdir()
    (place.work_dirs / ".hidden").mkdir()
    write_run(place.work_dirs / ".hidden" / "run", [])
    write_run(tmp_path / "elsewhere", [])
    (place.work_dirs / "link").symlink_to(tmp_path / "elsewhere")
    write_run(place.work_dirs / "b" / "c" / "run", [])
    write_run(place.work_dirs / "run" / "examples", [])
    assert every.names() == ["b/c/run", "run/examples"]
    with pytest.raises(OutsideError):
        every.detail("link")


def test_names_of_records_lead_nowhere():
    assert job_name("chosen_2") == "train-chosen_2"
    for odd in ("a b", "ä", "a\nb", "$(x)", "a/b", "../x", "a.b", "x" * 65):
        assert job_name(odd) == ""


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


def test_a_command_is_a_process_of_its_own_and_its_end_is_noted(jobs, tmp_path):
    job = jobs.start("doctor", "x", ["foundationx", "list", "no-such-kind"])
    assert os.getsid(job.process) == job.process != os.getsid(0)  # Ctrl-C in our terminal does not reach it
    assert job.is_alive and not jobs.get(job.identifier).ended
    ended = wait_until(lambda: (now := jobs.get(job.identifier)).ended and now)
    assert ended.code == 2 and "no-such-kind" in jobs.output(ended)
    assert Jobs(tmp_path / "jobs").get(job.identifier) == ended  # another portal knows it too


def test_a_record_whose_process_number_belongs_to_another_is_not_alive(jobs, tmp_path):
    folder = tmp_path / "jobs" / "train-x"
    folder.mkdir(parents=True)
    record = {"identifier": "train-x", "kind": "train", "about": "x", "words": ["foundationx"], "started": "2026"}
    (folder / "job.json").write_text(json.dumps(record | {"process": os.getpid(), "created": 1.0}))
    job = jobs.get("train-x")
    assert job.ended and job.code is None
    jobs.stop(job)  # else this test would end here
    time.sleep(0.1)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"identifier": 1}', "\xff"])
def test_damaged_records_are_no_jobs(jobs, tmp_path, text):
    folder = tmp_path / "jobs" / "check-1"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(text, encoding="latin-1")
    assert jobs.find("check-1") is None and jobs.all() == []


def test_names_of_jobs_lead_nowhere(jobs, tmp_path):
    (tmp_path / "job.json").write_text("{}")
    for name in ("..", "../x", "check-../..", "", "check-" + "x" * 200, "CHECK-1", "check-\n"):
        assert jobs.find(name) is None


def test_progress_is_the_last_line_that_says_it():
    assert progress_of("") is None
    assert progress_of("fingerprints: 10 of 20\nsearch: 3 of 7\nfound: many of them\n") == {
        "what": "search",
        "done": 3,
        "total": 7,
    }
    assert progress_of("nothing: 0 of 0\n") is None


def test_work_without_a_terminal_says_every_tenth(capsys):
    from foundationx.core.progress import Tenths

    lines = Tenths()
    for _ in range(40):
        lines.advance("search", 1, 40)
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [f"search: {done} of 40" for done in range(4, 41, 4)]
