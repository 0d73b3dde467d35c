"""Every line that ``foundationx export`` prints is run as it is printed, and gives what the run itself gives.

The lines run in a process of their own, as a user's would. Where a library is not installed the test is skipped and
says so. timm runs with a stand-in for torchvision, of which it needs nothing but names here.
"""

import contextlib
import dataclasses
import importlib.util
import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.run.predict import Preprocessor
from foundationx.core.config.load import load_config
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of
from foundationx.weights.exports.formats import FORMATS
from tests.helpers.plain_swin import randomise

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HEADS = {
    TaskKey("a", Task.CLASSIFICATION): ("mass", "nodule"),
    TaskKey("b", Task.DETECTION): ("mass", "nodule"),
    TaskKey("c", Task.SEGMENTATION): ("lung", "heart"),
}
NEEDS = {
    "timm": ("timm",),
    "huggingface": ("transformers",),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
    "onnx-model": ("onnxruntime", "onnx", "onnxscript"),
    "mmdet-detector": ("mmdet",),
    "mmseg-segmentor": ("mmseg",),
}
KINDS = ["mmdet.SwinTransformer", "mmdet.PublishedSwin"]
IMAGE = np.random.default_rng(0).integers(0, 256, (130, 90), dtype=np.uint8)


def written(folder, kind, config):
    """A work directory whose last map one window covers, so that the two rules of shifting differ."""
    changes = {"image_size": 64, "model.backbone.type": kind, "model.backbone.depths": (1, 1, 1, 2)}
    changes |= {"model.backbone.window_size": 2}
    config = load_config(ROOT / "tests/helpers" / config, changes)
    torch.manual_seed(1)
    model = FoundationModel(config.model, HEADS).eval()
    if "unihead" not in config.name:  # its points move by what is drawn: far ones would blow up every rounding
        randomise(model, seed=1)
    state = {"optimizer": {}, "step": 1, "visit": 1, "progress": {}}
    save_checkpoint(folder / "checkpoints", config=config, model=model, teacher=model, **state)
    return folder, model, config


@pytest.fixture(scope="module", params=KINDS)
def run_folder(request, tmp_path_factory):
    return written(tmp_path_factory.mktemp("run"), request.param, "tiny_config.py")


@pytest.fixture(scope="module", params=["tiny_config.py", "tiny_suppressed.py", "tiny_unihead.py"])
def whole_run(request, tmp_path_factory):
    return written(tmp_path_factory.mktemp("whole"), KINDS[1], request.param)


def exported(folder, name, tmp_path, *options):
    """The lines that the command prints for a format."""
    missing = [package for package in NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: the lines of {name} are not run")
    out = tmp_path / f"made{FORMATS.get(name).suffix}"
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        assert main(["export", str(folder), "--to", name, "--out", str(out), "--no-card", *options]) == 0
    return stream.getvalue().partition("\n\n")[2]


def run(code, tmp_path, *results, stand_in=False):
    """Runs code in a process of its own, perhaps with a stand-in for torchvision; gives the ``results``."""
    saved = ", ".join(f"'{index}': numpy.asarray({value})" for index, value in enumerate(results))
    saving = f"\nimport numpy\nnumpy.savez('results.npz', **{{{saved}}})\n"
    stand_ins = [str(ROOT / "tests" / "helpers" / "stand_ins")] if stand_in else []
    paths = [*stand_ins, str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code + saving], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
    stored = np.load(tmp_path / "results.npz")
    return [torch.from_numpy(stored[str(index)]) for index in range(len(results))]


def pooled(model, pixels):
    with torch.no_grad():
        return model.backbone(pixels)[-1].mean((2, 3))


def near(one, two):
    torch.testing.assert_close(one.to(two.dtype), two, atol=1e-4, rtol=1e-4)


def normalised(tmp_path, config):
    """Pixels of the image for the network, and code that loads them."""
    pixels = Preprocessor(config, "cpu")(IMAGE)
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    return pixels, "import numpy, torch\npixels = torch.from_numpy(numpy.load('pixels.npy'))\n"


def with_image(code, channels=1):
    """The lines with an image of ours for the empty one that they begin with."""
    shape = "" if channels == 1 else "[:, :, None].repeat(3, 2)"
    changed = re.sub(r"image = (numpy|torch)\.zeros\(.*\)", rf"image = _image{shape}", code)
    assert changed != code
    as_tensor = "_image = torch.from_numpy(_image)\n" if "torch.zeros(480" in code else ""
    return f"import torch\nimport numpy\n_image = numpy.load('image.npy')\n{as_tensor}{changed}"


def test_timm(run_folder, tmp_path):
    folder, model, config = run_folder
    code = exported(folder, "timm", tmp_path)
    pixels, load = normalised(tmp_path, config)
    create = "import timm\nother = timm.create_model('local-dir:made_timm', pretrained=True)"
    use = "with torch.no_grad():\n    one, two = net(pixels), other(pixels)"
    lines = f"{code}\n{load}net.eval()\n{create}\nother.eval()\n{use}"
    one, two = run(lines, tmp_path, "one", "two", stand_in=True)
    near(one, pooled(model, pixels))
    near(two, pooled(model, pixels))


def test_lines_for_old_timm_refuse_a_newer_one(run_folder, tmp_path):
    """timm to 0.6 does not install beside this torch; the features are tested with a network written anew."""
    folder, _, config = run_folder
    missing = importlib.util.find_spec("timm") is None
    if missing:
        pytest.skip("timm is not installed: the lines of timm06 are not run")
    code = exported(folder, "timm06", tmp_path)
    refusal = (
        f"try:\n{textwrap.indent(code, '    ')}\nexcept (AssertionError, RuntimeError) as error:\n    said = str(error)"
    )
    (said,) = run(refusal, tmp_path, "list(said.encode())", stand_in=True)
    assert "size mismatch for layers.1.downsample" in bytes(said.tolist()).decode()
    always = config.model.backbone["type"] == "mmdet.SwinTransformer"
    assert ("give other features" in code) == always


def test_transformers_opens_the_right_features_or_refuses(run_folder, tmp_path):
    folder, model, config = run_folder
    code = exported(folder, "huggingface", tmp_path)
    np.save(tmp_path / "image.npy", IMAGE)
    refusal = (
        f"\nrefused = 0\ntry:\n    plain = AutoModel.from_pretrained({str(tmp_path / 'made_huggingface')!r}, "
        "trust_remote_code=False)\nexcept ValueError:\n    refused = 1"
        "\ncolour = prepare(_image[:, :, None].repeat(3, 2), return_tensors='pt')['pixel_values']"
        "\npixels = prepare(image, return_tensors='pt')['pixel_values']"
    )
    found, refused, pixels, colour = run(with_image(code) + refusal, tmp_path, "pooled", "refused", "pixels", "colour")
    ours = Preprocessor(config, "cpu")(IMAGE)
    near(pixels, ours)
    near(colour, ours)
    near(found, pooled(model, ours))
    assert bool(refused) == (config.model.backbone["type"] == "mmdet.SwinTransformer")


@pytest.mark.parametrize("name", ["onnx", "torch-export"])
def test_programs_of_the_backbone(run_folder, name, tmp_path):
    folder, model, config = run_folder
    code = exported(folder, name, tmp_path)
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "grey.npy", grey.numpy())
    changed = re.sub(r"grey = .*", "grey = _grey", code)
    kind = "numpy.load('grey.npy')" if name == "onnx" else "torch.from_numpy(numpy.load('grey.npy'))"
    last = "stages[-1]" if name == "onnx" else "stages[-1].detach()"
    (stage,) = run(f"import numpy\nimport torch\n_grey = {kind}\n{changed}", tmp_path, last)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.model.mean, config.model.std))
    near(stage.mean((2, 3)), pooled(model, (grey - mean) / std))


def predicted(model, config, key):
    """What the head says of the image, in the names of the exports."""
    with torch.no_grad():
        prediction = model.predict(Preprocessor(config, "cpu")(IMAGE), key)
    values = {}
    for field in dataclasses.fields(prediction):
        value = getattr(prediction, field.name)[0]
        if field.name == "relative_boxes":
            value = value.clamp(0, 1) * torch.tensor([90.0, 130, 90, 130])
        if field.name == "masks":
            value = torch.from_numpy(np.stack([cv2.resize(mask, (90, 130)) for mask in value.numpy()]))
        values[f"{key}/{'boxes' if field.name == 'relative_boxes' else field.name}"] = value
    return values


@pytest.mark.parametrize("name", ["onnx-model", "torch-export-model"])
def test_whole_models_give_what_predict_gives(whole_run, name, tmp_path):
    """All heads at once, from a grey image that is no square to boxes in its pixels and masks at its size."""
    folder, model, config = whole_run
    code = exported(folder, name, tmp_path)
    np.save(tmp_path / "image.npy", IMAGE)
    expected = {n: v for key in HEADS for n, v in predicted(model, config, key).items()}
    asked = [f"results[{output!r}]{'' if name == 'onnx-model' else '.detach()'}" for output in expected]
    classes = "','.join(heads['b/detection']['classes'])"
    *found, classes = run(with_image(code), tmp_path, *asked, f"numpy.frombuffer({classes}.encode(), numpy.uint8)")
    assert bytes(classes.numpy()) == b"mass,nodule"
    for value, (output, ours) in zip(found, expected.items(), strict=True):
        tolerance = 2e-2 if output.endswith("boxes") else 1e-4  # boxes are in pixels: 1e-4 of the image
        torch.testing.assert_close(value.to(ours.dtype), ours, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("name", ["mmdet-detector", "mmseg-segmentor"])
def test_openmmlab_runs_whole_models(run_folder, name, tmp_path):
    folder, model, config = run_folder
    code = exported(folder, name, tmp_path)
    np.save(tmp_path / "image.npy", IMAGE)
    key = next(key for key in HEADS if task_of(key.task).library == FORMATS.get(name).library)
    ours = predicted(model, config, key)
    asked = ["found.bboxes", "found.scores", "found.labels"] if name == "mmdet-detector" else ["found.seg_logits.data"]
    found = run(with_image(code, channels=3), tmp_path, *asked)
    for value, expected in zip(found, ours.values(), strict=True):
        near(value, expected)


@pytest.mark.parametrize("name", ["mmdet", "mmseg"])
def test_lines_for_configuration_files_of_openmmlab(run_folder, name, tmp_path):
    """In a file, as they say; the backbone of the configuration is built, loads the weights and gives our features."""
    folder, model, config = run_folder
    code = exported(folder, name, tmp_path)
    (tmp_path / "config.py").write_text(code)
    pixels, load = normalised(tmp_path, config)
    lines = f"""{load}from foundationx.core import openmmlab
openmmlab.prepare()
import {name}.models
from mmengine.config import Config
from {name}.registry import MODELS
config = Config.fromfile("config.py")
net = MODELS.build(config.backbone)
net.init_weights()
net.eval()
with torch.no_grad():
    pooled = net(pixels)[-1].mean((2, 3))
mean = config.data_preprocessor.mean"""
    found, mean = run(lines, tmp_path, "pooled", "mean")
    near(found, pooled(model, pixels))
    near(mean / 255, torch.tensor(config.model.mean, dtype=mean.dtype))
