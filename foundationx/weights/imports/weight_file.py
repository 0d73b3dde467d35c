"""Opens a weight file without running code from it, and finds the state dict in it."""

from __future__ import annotations

import argparse
import codecs
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foundationx.core.archives import unpacked_size
from foundationx.core.errors import CheckpointError
from foundationx.models.size_bound import check_tensors
from foundationx.weights.imports.other_files import other_file
from foundationx.weights.safetensors_file import is_safetensors

TEACHERS = ("teacher", "teacher_model")
STUDENTS = ("state_dict", "model", "module")
"""Entries of the files of Ark and Foundation X, and of EVA-02; the teacher is the published model."""

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of DataParallel and of ``torch.compile``."""

LIGHTNING = "model."
"""Prefix of the one network of a Lightning module, if all names begin with it."""

_NUMPY_SCALAR: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]  # str in the stubs
"""Function by which NumPy unpickles its numbers."""

_PLAIN_OBJECTS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,  # command-line options
    (codecs.encode, "_codecs.encode"),  # how pickle writes the bytes of a NumPy number
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]
"""Types that training scripts store beside the weights and that hold values only: safe to load."""


def pick_weights(
    content: dict[str, Any], path: Path, entry: str | None = None
) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Finds the state dict.

    Args:
        content: Content of the file (``read_file``): a state dict, or a dictionary that holds one.
        path: File, for messages.
        entry: Entry with the weights; None for the teacher, if there is one.

    Returns:
        The tensors without the prefixes of wrappers, the name of the entry (empty for a bare state dict), and the
        reason why each other entry of the file is skipped.

    Raises:
        CheckpointError: There is no such state dict, or it has values that are not finite.
    """
    if is_state_dict(content):
        return _without_module(content, path), "", {}
    holders = [name for name, value in content.items() if is_state_dict(value)]
    entries = [entry] if entry else [*TEACHERS, *STUDENTS]
    chosen = next((name for name in entries if name in holders), None)
    if chosen is None:
        found = f"entries {', '.join(map(str, content)) or 'none'}; weights in: {', '.join(holders) or 'none'}"
        fix = "name the entry: --entry NAME" if holders else "give a file of weights"
        raise CheckpointError(str(path), found, f"weights in one of {', '.join(entries)}", fix)
    left = {
        name: f"other weights than the chosen entry ({chosen})" if name in holders else "not weights"
        for name in content
        if name != chosen
    }
    return _without_module(content[chosen], path), chosen, left


def read_file(path: Path) -> dict[str, Any]:
    """The file's dictionary.

    Args:
        path: File written by torch.save or safetensors.

    Raises:
        CheckpointError: The file is missing or damaged, holds no weights by name, or holds objects that cannot be read
            without running code.
    """
    if not path.exists():
        raise CheckpointError(str(path), "there is no such file", "a weight file", "check the path")
    if other := other_file(path):
        raise CheckpointError(str(path), other.found, "a file of weights (torch.save or safetensors)", other.fix)
    try:
        if is_safetensors(path):
            return load_file(path)
        size = unpacked_size(path)
        _check_sums(path)
        with torch.serialization.safe_globals(_PLAIN_OBJECTS), open(path, "rb") as stream:  # torch trusts a suffix
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except (Exception, SafetensorError) as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            fix = (
                "if you trust its source, open it once in a separate environment with content = torch.load(FILE, "
                "weights_only=False) and save the weights alone: torch.save({'teacher': content['teacher']}, NEW), "
                "or another entry; of a whole module, torch.save(content.state_dict(), NEW)"
            )
            found = f"holds an object of {blocked[1]}, which cannot be read without running code from the file"
            raise CheckpointError(str(path), found, "tensors, numbers, text", fix) from error
        found, fix = (
            f"cannot be read ({type(error).__name__})",
            "it may be damaged: fetch it again and compare its size",
        )
        raise CheckpointError(str(path), found, "a complete weight file", fix) from error
    if not isinstance(content, dict):
        found = f"holds a {type(content).__name__}"
        raise CheckpointError(str(path), found, "a dictionary of tensors", "save the state dict alone")
    check_tensors(content, size, str(path))
    return content


def _check_sums(path: Path) -> None:
    """Raises BadZipFile if a part of the archive does not match its checksum, which torch.load does not check."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"{broken} does not match its checksum")


def is_state_dict(value: Any) -> bool:
    """Whether a value is a non-empty dictionary of tensors."""
    return isinstance(value, dict) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def _without_module(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Removes what wrappers put before every name (``WRAPPERS``). Half-precision values become float32."""
    plain = {_unwrapped(str(name)): value for name, value in tensors.items()}
    while plain and all(name.startswith(LIGHTNING) for name in plain):
        plain = {_unwrapped(name.removeprefix(LIGHTNING)): value for name, value in plain.items()}
    if len(plain) != len(tensors):
        found = f"names with and without {' or '.join(WRAPPERS)} that are otherwise equal"
        raise CheckpointError(str(path), found, "one model", "save one model alone")
    broken = [name for name, value in plain.items() if value.is_floating_point() and not _finite(value)]
    if broken:
        raise CheckpointError(
            str(path), f"values in {broken[0]} that are not finite", "finite weights", "the file is damaged"
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in plain.items()}


def _unwrapped(name: str) -> str:
    """The name without the prefixes of wrappers; that of ``torch.compile`` also stands inside names."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _finite(value: Tensor) -> bool:
    return value.is_meta or bool(value.isfinite().all())


def reason_for(rules: Sequence[tuple[str, str]], name: str) -> str | None:
    """The reason of the first pattern that the whole name matches; None if no pattern matches."""
    return next((reason for pattern, reason in rules if re.fullmatch(pattern, name)), None)
