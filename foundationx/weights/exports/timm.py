"""The backbone for timm from 0.9 on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format
from foundationx.weights.safetensors_file import write_safetensors
from foundationx.weights.swin import EPS, swin_weights, to_timm

_OLD_NAMES = (
    "# the windows of this model are always shifted, as in Foundation X's own code; where one window covers the map,\n"
    "# timm and the Swin authors' code do not shift and give other features\n"
)


def write_timm(model: FoundationModel, config: RunConfig, which: str, path: Path, *, merge_first: bool) -> str:
    """Writes one safetensors file.

    Args:
        model: Student or teacher.
        config: Run configuration.
        which: ``student`` or ``teacher``, recorded in the metadata.
        path: Output file.
        merge_first: Names of timm from 0.9 on; otherwise timm to 0.6, Ark and Foundation X (``weights/swin.py``).

    Raises:
        ConfigError: The backbone is no Swin, or its last map is smaller than a window.
    """
    tensors, shape = swin_weights(model, "timm", config.image_size)
    names = "timm>=0.9" if merge_first else "timm<=0.6"
    write_safetensors(to_timm(tensors, merge_first), path, metadata=describe(model, config, which) | {"names": names})
    always = ", always_partition=True" if merge_first and shape.shift == "always" else ""
    norm = f", norm_layer=functools.partial(torch.nn.LayerNorm, eps={shape.eps:g})" if shape.eps != EPS else ""
    note = "" if merge_first or shape.shift == "published" else _OLD_NAMES
    return (
        f"{note}from timm.models.swin_transformer import SwinTransformer\n"
        f"net = SwinTransformer(img_size={config.image_size}, embed_dim={shape.embed_dims}, depths={shape.depths}, "
        f"num_heads={shape.num_heads}, window_size={shape.window_size}, mlp_ratio={shape.mlp_ratio}, "
        f"num_classes=0{always}{norm})\n"
        f"net.load_state_dict(safetensors.torch.load_file({str(path)!r}), strict={merge_first})"
    )


FORMAT = Format(partial(write_timm, merge_first=True), "_timm.safetensors", "timm from 0.9 on")
