"""The backbone for timm from 0.9 on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundationx.core.atomic_write import require_folder, write_json
from foundationx.core.config.run import RunConfig
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source
from foundationx.weights.safetensors_file import write_safetensors
from foundationx.weights.swin import EPS, SwinShape, swin_weights, to_timm

_OLD_NAMES = (
    "# the windows of this model are always shifted, as in Foundation X's own code; where one window covers the map,\n"
    "# timm and the Swin authors' code do not shift and give other features\n"
)


def write_timm(source: Source, path: Path) -> str:
    """Writes a folder with ``model.safetensors`` and, if timm can build the network from it, ``config.json``.

    Raises:
        ConfigError: The backbone is no Swin, or its last map is smaller than a window.
    """
    tensors, shape = swin_weights(source.model, "timm", source.config.image_size)
    require_folder(path)
    facts = describe(source) | {"names": "timm>=0.9"}
    write_safetensors(to_timm(tensors, True), path / "model.safetensors", metadata=facts)
    if shape.eps == EPS:  # a norm with another eps cannot be named in a configuration of timm
        write_json(path / "config.json", _configuration(shape, source.config), indent=2)
    always = ", always_partition=True" if shape.shift == "always" else ""
    return _lines(path / "model.safetensors", shape, source.config.image_size, always, strict=True)


def write_timm06(source: Source, path: Path) -> str:
    """Writes one safetensors file under the names of timm to 0.6, Ark and Foundation X.

    Raises:
        ConfigError: The backbone is no Swin, or its last map is smaller than a window.
    """
    tensors, shape = swin_weights(source.model, "timm", source.config.image_size)
    write_safetensors(to_timm(tensors, False), path, metadata=describe(source) | {"names": "timm<=0.6"})
    note = "" if shape.shift == "published" else _OLD_NAMES
    return note + _lines(path, shape, source.config.image_size, "", strict=False)


def _lines(file: Path, shape: SwinShape, image_size: int, options: str, *, strict: bool) -> str:
    """Code that loads the weights."""
    other = shape.eps != EPS
    norm = f", norm_layer=functools.partial(torch.nn.LayerNorm, eps={shape.eps:g})" if other else ""
    imports = "import functools\nimport torch\n" if other else ""
    load = f"net.load_state_dict(load_file({str(file)!r}), strict=True)"
    if not strict:
        load = f"""missing = net.load_state_dict(load_file({str(file)!r}), strict=False).missing_keys
assert all("attn_mask" in name for name in missing), f"another timm than 0.6 and before: {{missing[:3]}}\""""
    return f"""{imports}from safetensors.torch import load_file
from timm.models.swin_transformer import SwinTransformer
net = SwinTransformer(img_size={image_size}, embed_dim={shape.embed_dims}, depths={shape.depths}, \
num_heads={shape.num_heads}, window_size={shape.window_size}, mlp_ratio={shape.mlp_ratio}, num_classes=0{options}{norm})
{load}"""


def _configuration(shape: SwinShape, config: RunConfig) -> dict[str, Any]:
    """``config.json`` for ``timm.create_model('local-dir:FOLDER')`` and ``'hf-hub:NAME'``."""
    side = config.image_size
    return {
        "architecture": "swin_tiny_patch4_window7_224",  # its measures are replaced by the following
        "num_classes": 0,
        "num_features": shape.width,
        "model_args": {
            "img_size": side,
            "embed_dim": shape.embed_dims,
            "depths": list(shape.depths),
            "num_heads": list(shape.num_heads),
            "window_size": shape.window_size,
            "mlp_ratio": float(shape.mlp_ratio),
            "always_partition": shape.shift == "always",
        },
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [3, side, side],
            "pool_size": None,
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "interpolation": "box",
            "mean": list(config.model.mean),
            "std": list(config.model.std),
            "first_conv": "patch_embed.proj",
            "classifier": "head.fc",
        },
    }


FORMAT = Format(write_timm, "_timm", "timm from 0.9 on")
