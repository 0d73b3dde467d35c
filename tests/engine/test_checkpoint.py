"""Files that are whole or not there, checksums, and which checkpoint is taken."""

import errno
import hashlib
import resource
import subprocess
import threading
from pathlib import Path

import pytest
import torch

from foundationx.core import distributed
from foundationx.core.atomic_write import checksum_file, fault_of, write_verified
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RuntimeConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey
from foundationx.engine import checkpoint
from foundationx.engine.checkpoint import (
    CheckpointManager,
    checkpoints_in,
    load_checkpoint,
    newest_good_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from foundationx.models.foundation_model import FoundationModel

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


@pytest.fixture(scope="module")
def state():
    """All arguments of ``save_checkpoint`` but folder and step."""
    config = load_config(CONFIG)
    torch.manual_seed(0)
    model = FoundationModel(config.model, {TaskKey("films", Task.CLASSIFICATION): ("mass", "nodule")})
    optimizer = torch.optim.AdamW(model.parameters())
    return {
        "config": config,
        "model": model,
        "teacher": model,
        "optimizer": optimizer.state_dict(),
        "visit": 0,
        "progress": {"metric_logger": {"sums": {}, "finite": None}},
    }


@pytest.fixture
def folder(tmp_path, state):
    """A folder with checkpoints of steps 1, 2 and 3."""
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step=step, **state)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_has_its_checksum_beside_it(tmp_path):
    path = tmp_path / "file.pt"
    content = bytes(range(256)) * 5000
    write_verified(path, lambda stream: [stream.write(content[at : at + 700]) for at in range(0, len(content), 700)])
    assert path.read_bytes() == content
    assert checksum_file(path).read_text() == f"{hashlib.sha256(content).hexdigest()}  file.pt\n"
    subprocess.run(["sha256sum", "--check", "file.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert fault_of(path) is None
    assert names(tmp_path) == ["file.pt", "file.sha256"]


def test_a_disk_that_writes_something_else_is_detected(tmp_path):
    path = tmp_path / "file.pt"
    write_verified(path, lambda stream: stream.write(b"the old content"))

    def write_and_flip(stream):
        stream.write(b"the new content")
        (tmp_path / "file.pt.partial").write_bytes(b"the nEw content")

    with pytest.raises(CheckpointError, match="read back differs"):
        write_verified(path, write_and_flip)
    assert path.read_bytes() == b"the old content" and fault_of(path) is None
    assert names(tmp_path) == ["file.pt", "file.sha256"]


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path, state):
    """A limit on the size of files stands for the full disk: the system's own error comes in the middle of a write."""
    path = save_checkpoint(tmp_path, step=1, **state)
    before, content = names(tmp_path), path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step_00000002\.pt: cannot be written: File too large .* are free"):
            save_checkpoint(tmp_path, step=2, **state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == before and path.read_bytes() == content
    assert save_checkpoint(tmp_path, step=2, **state).is_file(), "the next save succeeds"


def test_the_disk_s_error_is_reported_and_not_torch_s(tmp_path):
    class Full:
        def __getstate__(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left on device"):
        write_verified(tmp_path / "file.pt", lambda stream: torch.save(Full(), stream))
    assert names(tmp_path) == []


def test_a_flipped_bit_is_detected_that_torch_does_not_see(folder):
    path = folder / "step_00000003.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match=r"does not have the checksum that step_00000003\.sha256 names"):
        load_checkpoint(path)


def test_a_checkpoint_alone_can_be_carried_elsewhere(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere.pt"
    elsewhere.write_bytes((folder / "step_00000002.pt").read_bytes())
    assert load_checkpoint(elsewhere).step == 2


def test_the_newest_good_one_is_loaded_and_the_others_are_named(folder):
    for step, size in ((3, 5000), (2, 0)):
        path = folder / f"step_{step:08d}.pt"
        path.write_bytes(path.read_bytes()[:size])
    checkpoint, faults = newest_good_checkpoint(folder)
    assert checkpoint.step == 1
    assert [Path(fault.where).name for fault in faults] == ["step_00000003.pt", "step_00000002.pt"]
    checksum_file(folder / "step_00000003.pt").unlink()
    _, faults = newest_good_checkpoint(folder)
    assert "cannot be read" in faults[0].found, "torn, though no checksum says so"
    (folder / "step_00000001.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint can be read: .*step_00000003.*step_00000001"):
        newest_good_checkpoint(folder)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path(tmp_path / "harm").touch, ())

    torch.save({"format": 2, "config": Harmful()}, tmp_path / "step_00000001.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_the_newest_and_the_best_stay(folder, state):
    for step in (4, 5):
        save_checkpoint(folder, step=step, **state)
    (folder / "step_00000009.sha256").write_text("of a checkpoint that never came\n")
    prune_checkpoints(folder, keep=2, best={2})
    assert [path.stem for path in checkpoints_in(folder)] == ["step_00000002", "step_00000004", "step_00000005"]
    assert len(names(folder)) == 6, "each with its checksum, and no checksum alone"


def test_what_a_killed_run_left_behind_goes_with_the_next_save(folder, state):
    (folder / "step_00000004.pt.partial").write_bytes(b"torn")
    assert newest_good_checkpoint(folder)[0].step == 3
    save_checkpoint(folder, step=4, **state)
    assert not list(folder.glob("*.partial"))


class TestWritingBesideTraining:
    """Several ranks do not wait for the first one to write."""

    @pytest.fixture
    def manager(self, tmp_path, monkeypatch):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        return CheckpointManager(tmp_path, RuntimeConfig(keep_checkpoints=2))

    def test_what_is_written_is_the_state_at_the_time_of_saving(self, manager, state, monkeypatch):
        """Though the weights change before the file is opened."""
        begin, real = threading.Event(), checkpoint.write_checkpoint

        def write(*arguments):
            begin.wait(20)
            return real(*arguments)

        monkeypatch.setattr(checkpoint, "write_checkpoint", write)
        weights = {name: value.clone() for name, value in state["model"].state_dict().items()}
        assert manager.save(7, state, final=False) is None
        with torch.no_grad():
            for parameter in state["model"].parameters():
                parameter.add_(1.0)
        begin.set()
        assert manager.finish() is None and manager.saved_step == 7
        stored = load_checkpoint(manager.folder).student
        with torch.no_grad():
            for parameter in state["model"].parameters():
                parameter.sub_(1.0)
        assert all(torch.equal(stored[name], value) for name, value in weights.items())

    def test_a_fault_is_reported_later_and_the_next_save_tries_again(self, manager, state, monkeypatch):
        real = checkpoint.write_checkpoint

        def refuse(*arguments):
            raise CheckpointError("step_7.pt", "cannot be written", fix="free disk space")

        monkeypatch.setattr(checkpoint, "write_checkpoint", refuse)
        assert manager.save(7, state, final=False) is None
        monkeypatch.setattr(checkpoint, "write_checkpoint", real)
        incident = manager.save(8, state, final=True)
        assert (incident.step, incident.kind) == (7, "io") and "the next save tries again" in incident.message
        assert manager.saved_step == 8 and [path.name for path in checkpoints_in(manager.folder)] == [
            "step_00000008.pt"
        ]
