"""A whole model as a program of ``torch.export``: grey images of any size in, without foundationx and mm* packages."""

from __future__ import annotations

from pathlib import Path

import torch

from foundationx.core.atomic_write import replacing
from foundationx.weights.exports._whole import describe_heads, trace_whole
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source


def write_program_model(source: Source, path: Path) -> str:
    """Writes a ``.pt2`` file; the metadata of ``describe`` and ``describe_heads`` are extra files in it.

    Raises:
        ConfigError: The model cannot be traced.
    """
    program, names = trace_whole(source)
    facts = describe(source) | dict(describe_heads(source, names))
    with replacing(path) as partial, open(partial, "xb") as stream:
        torch.export.save(program, stream, extra_files=facts)
    return f"""import json
import torch
facts = dict.fromkeys(["heads", "outputs"], "")
model = torch.export.load({str(path)!r}, extra_files=facts).module()
heads = json.loads(facts["heads"])  # classes, codes and thresholds of each head
image = torch.zeros(480, 400, dtype=torch.uint8)  # grey, of any size, bones bright
results = dict(zip(json.loads(facts["outputs"]), model(image)))  # boxes in pixels of the image"""


FORMAT = Format(
    write_program_model,
    "_model.pt2",
    "PyTorch without foundationx: a whole model, grey images of any size in",
    whole=True,
)
