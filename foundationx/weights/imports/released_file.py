"""Opens a file of weights without running code from it, and finds the state dict inside."""

from __future__ import annotations

import argparse
import codecs
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foundationx.core.errors import CheckpointError

TEACHERS = ("teacher", "teacher_model")
STUDENTS = ("state_dict", "model")
"""Entries of Ark's and Foundation X's files; the teacher is the published model."""

_PLAIN_OBJECTS = [
    argparse.Namespace,  # command-line options
    (codecs.encode, "_codecs.encode"),  # how pickle writes the bytes of a NumPy number
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]
"""What training scripts leave beside the weights and what holds values only: safe to read."""


def pick_weights(
    content: dict[str, Any], path: Path, entry: str | None = None
) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Finds the state dict.

    Args:
        content: of the file (``read_file``): a state dict, or a dictionary that holds one.
        path: for messages.
        entry: which one; None for the teacher where there is one.

    Returns:
        The tensors without the prefix ``module.``, the name of the entry (empty for a bare state dict), and why each
        other entry of the file was left.

    Raises:
        CheckpointError: no such state dict, or numbers that are not finite.
    """
    if is_state_dict(content):
        return _without_module(content, path), "", {}
    holders = [name for name, value in content.items() if is_state_dict(value)]
    wanted = [entry] if entry else [*TEACHERS, *STUDENTS]
    chosen = next((name for name in wanted if name in holders), None)
    if chosen is None:
        found = f"entries {', '.join(map(str, content)) or 'none'}; weights in: {', '.join(holders) or 'none'}"
        fix = "name the entry: --entry NAME" if holders else "give a file of weights"
        raise CheckpointError(str(path), found, f"weights in one of {', '.join(wanted)}", fix)
    left = {
        name: f"other weights than those asked for ({chosen})" if name in holders else "not weights"
        for name in content
        if name != chosen
    }
    return _without_module(content[chosen], path), chosen, left


def read_file(path: Path) -> dict[str, Any]:
    """The file's dictionary.

    Args:
        path: a file of torch.save or safetensors.

    Raises:
        CheckpointError: the file is missing or torn, or holds objects that only running code could read.
    """
    if not path.is_file():
        raise CheckpointError(str(path), "there is no such file", "a file of weights", "check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_sums(path)
        with torch.serialization.safe_globals(_PLAIN_OBJECTS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (Exception, SafetensorError) as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            fix = (
                "where you trust its source, open it once in an environment of its own with torch.load(FILE, "
                "weights_only=False) and save the weights alone: torch.save({'teacher': content['teacher']}, NEW)"
            )
            found = f"holds an object of {blocked[1]}, which cannot be read without running code from the file"
            raise CheckpointError(str(path), found, "tensors, numbers, text", fix) from error
        found, fix = f"cannot be read ({type(error).__name__})", "it may be torn: fetch it again and compare its size"
        raise CheckpointError(str(path), found, "a whole file of weights", fix) from error
    if not isinstance(content, dict):
        raise CheckpointError(str(path), f"holds a {type(content).__name__}", "a dictionary of tensors")
    return content


def _check_sums(path: Path) -> None:
    """Raises BadZipFile where a part of the archive is not what its checksum says; torch.load does not look."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"{broken} does not match its checksum")


def is_state_dict(value: Any) -> bool:
    """Whether it is a dictionary of tensors, and not empty."""
    return isinstance(value, dict) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def _without_module(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Strips what DataParallel puts before every name. Numbers of half precision become float32."""
    plain = {str(name).removeprefix("module."): value for name, value in tensors.items()}
    if len(plain) != len(tensors):
        raise CheckpointError(str(path), "names with and without 'module.' that are otherwise equal", "one model")
    broken = [name for name, value in plain.items() if value.is_floating_point() and not _finite(value)]
    if broken:
        raise CheckpointError(
            str(path), f"numbers in {broken[0]} that are not finite", "finite weights", "the file is torn"
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in plain.items()}


def _finite(value: Tensor) -> bool:
    return value.is_meta or bool(value.isfinite().all())


def reason_for(rules: Sequence[tuple[str, str]], name: str) -> str | None:
    """The reason beside the first pattern that the whole name matches; None where none does."""
    return next((reason for pattern, reason in rules if re.fullmatch(pattern, name)), None)
