"""Every command ends in one clear line: outputs that cannot be written, names that are no UTF-8, interruptions."""

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from foundationx.apps.cli import command_list
from foundationx.apps.cli.main import FAULT, STOPPED, main
from foundationx.apps.run import hooks
from foundationx.core.config.load import load_config
from foundationx.core.errors import DataError, DiskError
from foundationx.core.types import Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint
from foundationx.data.loader import read_all
from foundationx.engine.checkpoint import load_checkpoint, save_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG, equal

ODD = os.fsdecode(b"n\xff\xfem")
"""A name that is no UTF-8."""

OUTPUTS = {
    "train": ["train", "quickstart/phantom", "--work-dir", "PLACE"],
    "federate": ["federate", "ark/ark_plus_federated", "--work-dir", "PLACE"],
    "predict": ["predict", "nothing", "image.png", "--out", "PLACE"],
    "export": ["export", "nothing", "--out", "PLACE/x"],
    "import": ["import", "nothing", "--out", "PLACE"],
    "eval --out": ["eval", "nothing", "--out", "PLACE"],
    "eval --json": ["eval", "nothing", "--json", "PLACE/x"],
    "eval --protocol": ["eval", "nothing", "--protocol", "linear", "--card", "phantom_labels", "--out", "PLACE"],
    "compare": ["compare", "nothing", "--out", "PLACE/x.md"],
    "data audit": ["data", "audit", "phantom_labels", "--out", "PLACE"],
    "data check": ["data", "check", "phantom_labels", "--report", "PLACE/x"],
    "data fuse": ["data", "fuse", "recipes/commercial_use", "--out", "PLACE"],
    "portal": ["portal", "--out", "PLACE/x"],
}
"""Every command with an output but those that only make data (``data phantoms``, ``demo``)."""

PLACES = {
    "below a file": "FOLDER/file/x",
    "in /proc": "/proc/x",
    "below a device": "/dev/full/x",
    "a name of 300 characters": "FOLDER/" + "n" * 300,
    "a path of 2,000 folders": "FOLDER/" + "/".join(["n" * 50] * 2000),
    "a link to itself": "FOLDER/loop/x",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("command", OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_first(command, place, tmp_path, monkeypatch, capsys):
    """Before the input is looked at, which is missing here: nobody waits for results that cannot be kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    place = place.replace("FOLDER", str(tmp_path))
    assert main([word.replace("PLACE", place) for word in command]) == FAULT
    printed = capsys.readouterr().err
    assert "DiskError" in printed and "cannot be written" in printed and "fix: " in printed
    assert "Traceback" not in printed and len(printed) < 5000
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_phantoms_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "x", Path("/proc/x"), tmp_path / ("n" * 300)):
        with pytest.raises(DiskError, match="cannot be written"):
            write_phantom_datasets(place, {"phantom_labels": 1}, size=64, processes=1)


def test_a_report_of_a_misspelt_folder_is_refused_and_makes_nothing(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, found in (("nothing", "there is no such folder"), ("empty", "holds no run")):
        assert main(["report", str(tmp_path / name)]) == FAULT
        assert found in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"] and not list((tmp_path / "empty").iterdir())


EXPECTED_BY_NOBODY = [PermissionError(13, "Permission denied", "/a/b"), OSError(30, "Read-only", b"/a/b\xff")]


@pytest.mark.parametrize("error", EXPECTED_BY_NOBODY, ids=["text", "bytes"])
def test_an_error_of_the_disk_that_nobody_expected_has_no_stack_trace(error, monkeypatch, capsys):
    def fail(kind):
        raise error

    monkeypatch.setattr(command_list, "entries", fail)
    assert main(["list", "heads"]) == FAULT
    printed = capsys.readouterr().err
    assert "/a/b" in printed and error.strerror in printed and "fix: " in printed


def test_a_mistake_of_the_program_keeps_its_stack_trace(monkeypatch):
    def fail(kind):
        raise AssertionError("ours")

    monkeypatch.setattr(command_list, "entries", fail)
    with pytest.raises(AssertionError, match="ours"):
        main(["list", "heads"])


# ---------------------------------------------------------------- names that are no UTF-8


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    """A folder whose name is no UTF-8 with a checkpoint, an image and datasets."""
    folder = tmp_path_factory.mktemp("odd") / ODD
    write_phantom_datasets(folder / "data", {"phantom_labels": 14}, size=64, processes=1)
    config = load_config(CONFIG, {"runtime.cache": str(folder / "cache")})
    model = FoundationModel(config.model, {TaskKey("phantom_labels", Task.CLASSIFICATION): ("Nodule",)})
    state = {"optimizer": {}, "step": 1, "visit": 0, "progress": {}}
    save_checkpoint(folder / "run" / "checkpoints", config=config, model=model, teacher=model, **state)
    WorkDir(folder / "run").write_json("config.json", config.model_dump(mode="json"))
    image = next((folder / "data").rglob("*.png"))
    shutil.copy(image, folder / f"{ODD}.png")
    return folder


NAMES = {
    "predict": ["predict", "RUN", f"RUN/../{ODD}.png", "--out", "OUT"],
    "export": ["export", "RUN", "--out", f"OUT/{ODD}.safetensors"],
    "report": ["report", "RUN"],
    "data check": ["data", "check", "phantom_labels", "--data-root", "RUN/../data", "--report", "OUT/a.json"],
    "data audit": ["data", "audit", "phantom_labels", "--data-root", "RUN/../data", "--out", "OUT"],
    "data fuse": ["data", "fuse", "recipes/commercial_use", "--out", "OUT"],
}


@pytest.mark.parametrize("command", NAMES.values(), ids=NAMES)
def test_names_that_are_no_utf8_are_names(command, odd_run, tmp_path):
    out = tmp_path / ODD
    words = [word.replace("RUN", str(odd_run / "run")).replace("OUT", str(out)) for word in command]
    assert main(words) in (0, 1)
    assert command[0] == "report" or list(out.iterdir())


WORDS = {
    "a card": ["data", "check", ODD],
    "a command": [ODD],
    "a head": ["predict", "RUN", "x.png", "--head", ODD],
    "a configuration": ["train", ODD],
    "an option": ["config", "quickstart/phantom", "--cfg-options", f"name={ODD}"],
    "a key": ["config", "quickstart/phantom", "--cfg-options", f"{ODD}=1"],
    "a checkpoint": ["export", ODD],
    "an import": ["import", f"{ODD}.safetensors", "--out", "x"],
    "a recipe": ["data", "fuse", ODD, "--out", "x"],
}


@pytest.mark.parametrize("command", WORDS.values(), ids=WORDS)
def test_words_that_are_no_utf8_end_in_a_message(command, odd_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main([word.replace("RUN", str(odd_run / "run")) for word in command])
    except SystemExit as end:
        code = end.code
    assert code == FAULT and "Traceback" not in capsys.readouterr().err


def test_a_fingerprint_of_a_name_that_is_no_utf8_is_kept(tmp_path):
    image = tmp_path / f"{ODD}.png"
    image.write_bytes(cv2.imencode(".png", np.arange(64, dtype=np.uint8).reshape(8, 8))[1].tobytes())
    store = FingerprintStore(tmp_path / "prints.sqlite")
    store.put(image, fingerprint(image))
    store.commit()
    assert store.get(image).content == fingerprint(image).content
    store.close()
    content = bytearray((tmp_path / "prints.sqlite").read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    (tmp_path / "prints.sqlite").write_bytes(content)
    assert FingerprintStore(tmp_path / "prints.sqlite").get(image) is None, "a damaged file is made anew"


# ---------------------------------------------------------------- interruptions


def interrupted(kind):
    raise KeyboardInterrupt


def terminated(kind):
    os.kill(os.getpid(), signal.SIGTERM)
    pytest.fail("goes on")


@pytest.fixture(autouse=True)
def interruptible():
    """A shell that starts a command in the background lets it ignore SIGINT, and so everything that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallowed(kind):
    """A library that turns the interruption into an error of its own."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("half a file") from None


def died(kind):
    """Ctrl-C ends worker processes too, perhaps first."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise DataError("evaluation", "a worker process has died") from None


@pytest.mark.parametrize("run", [interrupted, terminated, swallowed, died])
def test_an_interrupted_command_says_so(run, monkeypatch, capsys):
    monkeypatch.setattr(command_list, "entries", run)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(["list", "heads"]) == STOPPED
    assert capsys.readouterr().err == "foundationx: interrupted; the same command goes on or begins again\n"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class Dying(Dataset):
    """Ends the process that reads item 3."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


@pytest.mark.slow
def test_a_worker_that_dies_while_a_loader_is_read_is_an_error():
    with pytest.raises(DataError, match=r"evaluation: a worker process has died(?s:.*)fix: .*again") as died:
        list(read_all(DataLoader(Dying(), num_workers=1), "evaluation", "run the same command again"))
    assert "runtime.workers=0" in died.value.fix
    for _ in range(3):  # torch would report the dead worker again when any other process ends
        subprocess.run(["true"], check=True)


RUN = ["--cfg-options", "schedule.max_steps=1", "evaluate.final=[val]", "evaluate.examples=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Phantoms, a configuration of one head, and an undisturbed run."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_phantom_datasets(folder / "data", {"phantom_labels": 14}, size=64, processes=1)
    config = folder / "one.py"
    config.write_text(f"_base_ = [{str(CONFIG)!r}]\ndatasets = [dict(card='phantom_labels')]\n")
    assert main(train(folder, folder / "whole")) == 0
    return folder


def train(folder, run):
    return ["train", str(folder / "one.py"), "--data-root", str(folder / "data"), "--work-dir", str(run), *RUN]


MOMENTS = {
    "the first evaluation": ("evaluate", 1),
    "an evaluation in between": ("evaluate", 2),
    "the last evaluation": ("evaluate", 3),
    "the first report": ("write_report", 1),
    "the last report": ("write_report", 3),
    "the export": ("export_backbone", 1),
}


@pytest.mark.parametrize("moment", [pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS])
def test_a_run_interrupted_outside_of_training_goes_on(moment, whole, tmp_path, monkeypatch, capsys):
    """It says with which command; that command ends the run as if nobody had interrupted it."""
    name, number = MOMENTS[moment]
    calls, real = [], getattr(hooks, name)

    def call(*args, **options):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(hooks, name, call)
    assert main(train(whole, tmp_path / "run")) == STOPPED
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    line = next(line for line in printed.out.splitlines() if line.startswith("stopped; go on with: "))
    words = shlex.split(line.removeprefix("stopped; go on with: foundationx "))
    assert main(words) == 0
    ours, theirs = load_checkpoint(tmp_path / "run"), load_checkpoint(whole / "whole")
    assert ours.step == theirs.step and equal(ours.student, theirs.student) and equal(ours.teacher, theirs.teacher)
    assert WorkDir(tmp_path / "run").read_metrics() == WorkDir(whole / "whole").read_metrics()
    for file in ("backbone_teacher.safetensors", "curves.json", "best.json"):
        assert (tmp_path / "run" / file).read_bytes() == (whole / "whole" / file).read_bytes()
