"""Safetensors files that are written atomically and are, for the same weights and metadata, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from foundationx.core.atomic_write import write_atomically

SUFFIX = ".safetensors"

OF_TORCH = (b"PK", b"\x80\x02")
"""How files of ``torch.save`` begin: archives, and those of old versions."""

ALIGNMENT = 8
"""The header's length is a multiple of this, in bytes."""


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors, whatever its name: it begins with the length of a header, then the header.

    A file of that suffix counts as well, however damaged, unless it begins as those of ``torch.save``.
    """
    with open(path, "rb") as stream:
        head = stream.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return True
    return path.suffix == SUFFIX and not head.startswith(OF_TORCH)


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a file of tensors.

    The library writes metadata in an order of its own, another one each time; here they are sorted by name.

    Args:
        tensors: Contiguous tensors by name.
        path: Output file.
        metadata: Texts by name.

    Raises:
        DiskError: The file cannot be written; an older one stays.
    """
    content = save(dict(tensors), metadata=dict(metadata))
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    write_atomically(path, len(text).to_bytes(8, "little") + text + content[start:])
