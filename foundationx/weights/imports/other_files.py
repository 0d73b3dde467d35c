"""Files and folders that hold no weights that an import can read: what each is, and what to do with it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from foundationx.engine.checkpoint import checkpoints_in
from foundationx.weights.safetensors_file import is_safetensors

CHECKPOINT = "give the checkpoint (.pth, .safetensors) that it was made from"
OWN_USE = "it runs by the lines that `foundationx export` printed; predict, eval and train take the run itself"
"""What to do with exports of this project that hold no weights by name."""

HEAD_SIZE, TAIL_SIZE = 64, 2**18
"""Bytes that are read at the beginning and at the end of a file."""


class OtherFile(NamedTuple):
    """What a file is, in words that follow its name, and what to do."""

    found: str
    fix: str


_MAGIC: tuple[tuple[bytes, OtherFile], ...] = (
    (rb"\x89HDF\r\n", OtherFile("is an HDF5 file (Keras)", "give the weights as PyTorch or safetensors files")),
    (rb"GGUF", OtherFile("is a GGUF file of quantised weights", CHECKPOINT)),
    (rb"....TFL3", OtherFile("is a graph of TensorFlow Lite", CHECKPOINT)),
    (rb"version https://git-lfs", OtherFile("is a pointer of Git LFS, not the file itself", "fetch it: git lfs pull")),
    (
        rb"\s*<(!doctype|html|\?xml)",
        OtherFile("is a web page", "the download ended on a page (sign in, or follow its link): fetch the file itself"),
    ),
    (rb"(\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ)", OtherFile("is a compressed archive", "unpack it, and give the file")),
)
"""What a file begins with, as a regular expression."""

_SUFFIXES: dict[str, OtherFile] = {
    ".onnx": OtherFile("is an ONNX graph, whose weights have lost their names", CHECKPOINT),
    ".engine": OtherFile("is an engine of TensorRT", CHECKPOINT),
    ".py": OtherFile(
        "is a configuration or program",
        "give the checkpoint of mmdet or mmseg that belongs to it; `foundationx train` takes configurations of ours",
    ),
    ".json": OtherFile("describes a network and holds no weights", "give the folder, or the weight file beside it"),
    ".yaml": OtherFile("describes a network and holds no weights", "give the weight file"),
}

_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a]", re.DOTALL)
"""Begin of an ONNX model: its version, then the name of its producer or the graph."""

_ARRAYS = OtherFile(
    "is an archive of NumPy arrays (big_vision, JAX)",
    "give the same weights under the names of OpenCLIP or transformers",
)
_TORCHSCRIPT = OtherFile(
    "is a TorchScript program",
    "if you trust its source, save its weights: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
)
_PROGRAM = OtherFile(
    "is a program of torch.export",
    "save its weights: torch.save(dict(torch.export.load(FILE).state_dict), 'weights.pth')",
)
_COMPILED = OtherFile("is a compiled program (AOTInductor)", CHECKPOINT)


def other_file(path: Path) -> OtherFile | None:
    """What a file or folder is that no import reads; None for what may be a weight file.

    Args:
        path: Existing file or folder; of a file, only the beginning, the end and an archive's directory are read.
    """
    if path.is_dir():
        return _folder(path)
    with open(path, "rb") as stream:
        head = stream.read(HEAD_SIZE)
        stream.seek(max(0, path.stat().st_size - TAIL_SIZE))
        tail = stream.read()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _archive(archive.namelist())
    for pattern, described in _MAGIC:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return described
    if _ONNX.match(head) and b"\x0a\x0bfoundationx" in tail:
        return OtherFile("is an ONNX graph that foundationx exported", OWN_USE)
    if is_safetensors(path):
        return None
    if _ONNX.match(head):
        return _SUFFIXES[".onnx"]
    return _SUFFIXES.get(path.suffix.lower())


def _archive(names: list[str]) -> OtherFile | None:
    """A zip archive, by the names in it; None if torch.save may have written it."""
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("data/aotinductor/") for name in inner):
        return _COMPILED
    if "extra/foundationx" in inner:
        return OtherFile("is a program that foundationx exported (torch.export)", OWN_USE)
    if "archive_format" in inner or "serialized_exported_program.json" in {*inner, *names}:
        return _PROGRAM
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return _TORCHSCRIPT
    if names and all(name.endswith(".npy") for name in names):
        return _ARRAYS
    if "data.pkl" in inner:
        return None
    return OtherFile(f"is a zip archive of {len(names):,} files", "unpack it, and give the weight file in it")


def _folder(path: Path) -> OtherFile:
    """A folder without ``model.safetensors``."""
    if checkpoints_in(path):
        return OtherFile("is a run of this project", f"give {path} to predict, eval and export, or to model.init_run")
    if (path / "config.py").is_file() and (path / "model.pth").is_file():
        return OtherFile("is a whole model for mmdet or mmseg that foundationx exported", OWN_USE)
    if (path / "model.safetensors.index.json").is_file():
        fix = "join its parts: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW, max_shard_size='100GB')"
        return OtherFile("is a model in several files", fix)
    files = sorted(file.name for file in path.iterdir() if file.suffix in (".bin", ".pth", ".pt", ".safetensors"))
    fix = f"give a file in it: {', '.join(files[:5])}" if files else "give a weight file"
    return OtherFile("is a folder without model.safetensors", fix)


_HEADS = re.compile(
    r"(neck|bbox_head|rpn_head|roi_head|mask_head|query_head|panoptic_head|decode_head|auxiliary_head)\."
)
"""Parts of the detectors and segmentors of mmdet and mmseg that others do not have under these names."""


def other_weights(names: Iterable[str]) -> OtherFile | None:
    """What a state dict is whose tensors belong to a network that is run, but not imported; None for any other."""
    names = list(names)
    if any(name.startswith("network.backbone.") for name in names):
        return OtherFile("is a whole model for mmdet or mmseg that foundationx exported", OWN_USE)
    if any(map(_HEADS.match, names)) and any(name.startswith("backbone.") for name in names):
        start = "init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')"
        fix = f"its backbone starts a run: model.backbone=dict(..., {start}), with the arguments of its configuration"
        return OtherFile("is a detector or segmentor of mmdet or mmseg", fix)
    return None
