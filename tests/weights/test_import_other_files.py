"""Files that hold no weights to import: the message says what each is and what to do with it."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.formats import FORMATS, Source
from foundationx.weights.imports.released import read_released
from tests.weights.test_import_own_exports import build


class Layer(torch.nn.Module):
    """A network of one layer."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, values):
        """(B, 3) to (B, 2)."""
        return self.layer(values)


def _torchscript(path):
    torch.jit.script(Layer()).save(path)


def _traced(path):
    torch.jit.trace(Layer(), torch.zeros(1, 3)).save(path)


def _program(path):
    torch.export.save(torch.export.export(Layer(), (torch.zeros(1, 3),)), path)


def _own_program(path):
    extra = {"foundationx": "0.1"}
    torch.export.save(torch.export.export(Layer(), (torch.zeros(1, 3),)), path, extra_files=extra)


def _graph(path, facts=()):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([relu], "g", [value("x", 1, [1])], [value("y", 1, [1])]))
    for key, stated in facts:
        model.metadata_props.add(key=key, value=stated)
    onnx.save(model, path)


def _zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("release/readme.txt", "weights")


def _arrays(path):
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(3))
    path.write_bytes(stream.getvalue())


def _detector(path):
    """As mmdet stores one: meta and a state dict."""
    names = ("backbone.conv1.weight", "neck.convs.0.conv.weight", "bbox_head.fc_cls.weight")
    meta = {"mmdet_version": "3.3.0", "config": "model = dict(type='DINO')"}
    torch.save({"meta": meta, "state_dict": {name: torch.ones(2, 2) for name in names}}, path)


FILES = {
    "scripted.pt": (_torchscript, "is a TorchScript program", r"torch\.jit\.load\(FILE\)\.state_dict"),
    "traced.pth": (_traced, "is a TorchScript program", r"torch\.jit\.load"),
    "program.pt2": (_program, "is a program of torch.export", r"torch\.export\.load\(FILE\)\.state_dict"),
    "ours.pt2": (_own_program, "is a program that foundationx exported", "predict, eval and train take the run"),
    "graph.onnx": (_graph, "is an ONNX graph, whose weights", "give the checkpoint"),
    "graph.bin": (_graph, "is an ONNX graph, whose weights", "give the checkpoint"),
    "ours.onnx": (
        lambda path: _graph(path, [("foundationx", "0.1")]),
        "an ONNX graph that foundationx exported",
        "run",
    ),
    "dino_4scale.py": (lambda path: path.write_text("model = dict()"), "is a configuration", "give the checkpoint"),
    "dino_4scale.pth": (_detector, "is a detector or segmentor of mmdet", r"init_cfg=dict\(type='Pretrained'"),
    "siglip.npz": (_arrays, "is an archive of NumPy arrays", "OpenCLIP or transformers"),
    "weights.zip": (_zipped, "is a zip archive of 1 files", "unpack it"),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html>\n<p>Sign in"), "is a web page", "fetch the file itself"),
    "lfs.safetensors": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS", "pull"),
    "keras.h5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "is an HDF5 file", "PyTorch"),
    "config.json": (lambda path: path.write_text(json.dumps({"model_type": "vit"})), "holds no weights", "beside it"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_is_and_what_to_do_is_said(name, tmp_path):
    make, found, fix = FILES[name]
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"{name}: .*{found}[\s\S]*fix: .*{fix}") as caught:
        read_released(tmp_path / name)
    assert "damaged" not in str(caught.value) and "torn" not in str(caught.value)


def test_what_a_torchscript_message_says_gives_weights(tmp_path):
    """The line of the message makes a file that is read as far as its names."""
    _torchscript(tmp_path / "a.pt")
    torch.save(torch.jit.load(tmp_path / "a.pt").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="other backbones are not imported"):
        read_released(tmp_path / "weights.pth")


def test_whole_modules_are_refused_with_the_line_that_saves_their_weights(tmp_path):
    torch.save(Layer(), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match=r"holds an object of [\s\S]*torch\.save\(content\.state_dict\(\), NEW\)"):
        read_released(tmp_path / "module.pth")


@pytest.mark.parametrize("given", ["", "model.pth", "config.py"])
def test_whole_models_for_mmdet_are_named_as_such(given, tmp_path, capsys):
    _, config = build("published")
    key = TaskKey("a", Task.DETECTION)
    model = FoundationModel(config.model, {key: ("mass",)}).eval()
    FORMATS.get("mmdet-detector").write(Source(model, config, "teacher", (key,)), tmp_path / "made")
    assert main(["import", str(tmp_path / "made" / given), "--out", str(tmp_path / "out")]) == FAULT
    error = " ".join(capsys.readouterr().err.split())
    expected = "is a configuration" if given == "config.py" else "a whole model for mmdet or mmseg that foundationx"
    assert expected in error and "fix:" in error and "damaged" not in error


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("model.safetensors.index.json", "is a model in several files"),
        ("pytorch_model.bin", "give a file in it: pytorch_model.bin"),
        ("checkpoints/step_00000001.pt", "is a run of this project"),
    ],
)
def test_folders_without_weights_are_named(file, found, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(CheckpointError, match=found):
        read_released(tmp_path)
