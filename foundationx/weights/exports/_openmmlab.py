"""The backbone for mmdet and mmseg: a checkpoint for ``init_cfg=dict(type='Pretrained', ...)``."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from foundationx.core.atomic_write import write_atomically
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_state
from foundationx.weights.exports.backbone import describe
from foundationx.weights.swin import shift_rule


def write_openmmlab(model: FoundationModel, config: RunConfig, which: str, path: Path, *, library: str) -> str:
    """Writes ``{"meta", "state_dict"}`` with the prefix ``backbone.``, which both libraries look for.

    Args:
        model: Student or teacher.
        config: Run configuration.
        which: ``student`` or ``teacher``, recorded in ``meta``.
        path: Output file.
        library: ``mmdet`` or ``mmseg``.

    Raises:
        ConfigError: Only the other library has the backbone.
    """
    kind = str(config.model.backbone["type"]).partition(".")[2]
    rule = shift_rule(model.backbone.net)
    own = str(config.model.backbone["type"]).startswith(f"{library}.")
    if not own and rule is None:
        found = f"the backbone is {config.model.backbone['type']}"
        raise ConfigError(f"export to {library}", found, f"a Swin or a backbone of {library}", "use its own library")
    tensors = {f"backbone.{name}": value.cpu() for name, value in plain_state(model.backbone.net).items()}
    content = io.BytesIO()
    torch.save({"meta": describe(model, config, which), "state_dict": tensors}, content)
    write_atomically(path, content.getvalue())
    imports = ""
    if rule == "published":
        kind = f"mmdet.{kind}"
        imports = "custom_imports = dict(imports=['foundationx.models.swin'])  # or SwinTransformer, for large images\n"
    prefix = "" if rule is not None else ", prefix='backbone.'"  # Swin's own loading looks for the prefix itself
    arguments = {name: value for name, value in config.model.backbone.items() if name != "type"}
    return (
        f"{imports}backbone = dict(type={kind!r}, "
        + "".join(f"{name}={value!r}, " for name, value in arguments.items())
        + f"init_cfg=dict(type='Pretrained', checkpoint={str(path)!r}{prefix}))\n"
        f"data_preprocessor: mean={[round(255 * v, 3) for v in config.model.mean]}, "
        f"std={[round(255 * v, 3) for v in config.model.std]}, bgr_to_rgb=True"
    )
