"""The backbone for mmdet and mmseg: a checkpoint for ``init_cfg=dict(type='Pretrained', ...)``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foundationx.core.atomic_write import write_atomically
from foundationx.core.errors import ConfigError
from foundationx.models.lora import plain_state
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Source
from foundationx.weights.swin import shift_rule


def write_openmmlab(source: Source, path: Path, *, library: str) -> str:
    """Writes ``{"meta", "state_dict"}`` with the prefix ``backbone.``, which both libraries look for.

    Args:
        source: What is exported.
        path: Output file.
        library: ``mmdet`` or ``mmseg``.

    Raises:
        ConfigError: Only the other library has the backbone.
    """
    config, net = source.config.model, source.model.backbone.net
    kind = str(config.backbone["type"]).partition(".")[2]
    rule = shift_rule(net)
    own = str(config.backbone["type"]).startswith(f"{library}.")
    if not own and rule is None:
        found = f"the backbone is {config.backbone['type']}"
        raise ConfigError(f"export to {library}", found, f"a Swin or a backbone of {library}", "use its own library")
    tensors = {f"backbone.{name}": value for name, value in plain_state(net).items()}
    write_checkpoint(path, describe(source), tensors)
    imports = ""
    if rule == "published":
        kind = f"mmdet.{kind}"
        imports = "custom_imports = dict(imports=['foundationx.models.swin'])  # or SwinTransformer, for large images\n"
    prefix = "" if rule is not None else ", prefix='backbone.'"  # Swin's own loading looks for the prefix itself
    arguments = "".join(f"{name}={value!r}, " for name, value in config.backbone.items() if name != "type")
    return f"""# in a configuration file of {library}
{imports}backbone = dict(type={kind!r}, {arguments}\
init_cfg=dict(type='Pretrained', checkpoint={str(path)!r}{prefix}))
data_preprocessor = dict(mean={[round(255 * v, 3) for v in config.mean]}, \
std={[round(255 * v, 3) for v in config.std]}, bgr_to_rgb=True)"""


def write_checkpoint(path: Path, meta: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """A checkpoint as both libraries load it. Raises DiskError."""
    content = io.BytesIO()
    torch.save({"meta": dict(meta), "state_dict": {name: value.cpu() for name, value in tensors.items()}}, content)
    write_atomically(path, content.getvalue())
