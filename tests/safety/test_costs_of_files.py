"""What a file of others may cost: archives, tensors and images that unpack to more than they hold are refused."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from foundationx.core import archives
from foundationx.core.archives import read_npz
from foundationx.core.errors import CheckpointError, DataError
from foundationx.core.workdir import WorkDir
from foundationx.data.pixels import raw_images
from foundationx.data.pixels.read import read_grey
from foundationx.engine.checkpoint import read_checkpoint
from foundationx.evaluation.predictions import read_predictions
from foundationx.weights.imports.weight_file import read_file

MEGABYTE = 2**20


def packed(path, content, name="a.npy"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def header_of(shape, kind="<f8"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
    return head.getvalue()


def test_what_numpy_wrote_is_read_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.float32), "c": np.array("text")}
    for name, write in {"plain": np.savez, "packed": np.savez_compressed}.items():
        write(tmp_path / f"{name}.npz", **arrays)
        read = read_npz(tmp_path / f"{name}.npz")
        assert set(read) == set(arrays)
        assert all((read[key] == value).all() and read[key].dtype == value.dtype for key, value in arrays.items())


def test_an_npz_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.npz", header_of((4 * MEGABYTE,), "|u1") + bytes(4 * MEGABYTE))
    assert read_npz(path)["a"].size == 4 * MEGABYTE
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", MEGABYTE)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"unpacks to 4,194,\d+ bytes in 1 parts; at most 1,048,576 are read"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (-1,), (2**62, 8)])
def test_an_array_that_claims_more_than_the_file_holds_is_refused(shape, tmp_path):
    path = packed(tmp_path / "a.npz", header_of(shape) + bytes(64))
    with pytest.raises(ValueError, match="claims"):
        read_npz(path)
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(path)


def test_examples_that_unpack_to_too_much_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", MEGABYTE)
    (tmp_path / "examples").mkdir()
    content = header_of((4 * MEGABYTE,), "|u1") + bytes(4 * MEGABYTE)
    packed(tmp_path / "examples" / "films.classification.npz", content, "classes.npy")
    assert WorkDir(tmp_path).read_examples() == {}


def test_objects_in_an_npz_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{"key": 1}], dtype=object))
    with pytest.raises(ValueError, match="claims"):
        read_npz(tmp_path / "a.npz")


def deflated(path):
    """The same archive, its parts packed: zeros take a thousandth of their size then."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_weight_file_that_was_packed_is_read_up_to_the_limit(tmp_path, monkeypatch):
    torch.save({"weight": torch.zeros(MEGABYTE)}, tmp_path / "a.pt")
    deflated(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < MEGABYTE / 10
    assert read_file(tmp_path / "a.pt")["weight"].numel() == MEGABYTE
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", MEGABYTE)
    for read in (read_file, read_checkpoint):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.zeros(1).expand(2**30)},
        {"weight": torch.zeros(4).as_strided((2**14, 2**14), (0, 0))},
        {"outer": [{"inner": (torch.zeros(1).expand(2**25),)}]},
        {f"w{index}": view for index, view in enumerate([torch.zeros(MEGABYTE)] * 40)},
    ],
)
def test_tensors_that_repeat_their_numbers_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 5 * MEGABYTE
    with pytest.raises(CheckpointError, match=r"its tensors take [\d,]+ bytes, the file [\d,]+"):
        read_file(tmp_path / "a.pt")


def test_tied_weights_and_lists_that_hold_themselves_are_read(tmp_path):
    weight = torch.ones(MEGABYTE)
    endless: list[object] = [1]
    endless.append(endless)
    torch.save({"a": weight, "b": weight, "c": endless}, tmp_path / "a.pt")
    assert read_file(tmp_path / "a.pt")["b"].sum() == MEGABYTE


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("RGB", 3), ("LA", 2), ("L", 1)])
def test_channels_count_in_the_size_of_an_image(mode, channels, tmp_path, monkeypatch):
    Image.new(mode, (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(raw_images, "MAX_VALUES", 40 * 30 * channels)
    assert read_grey(tmp_path / "a.png").shape == (30, 40)
    monkeypatch.setattr(raw_images, "MAX_VALUES", 40 * 30 * channels - 1)
    with pytest.raises(DataError, match="claims 40 x 30 pixels"):
        read_grey(tmp_path / "a.png")
