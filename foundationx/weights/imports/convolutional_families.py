"""Published backbones with stages: ResNet, ConvNeXt (also DINOv3's) and Swin v2."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foundationx.weights.imports.family import Family, Stated, counts

CLASSIFIER = ((r"(fc|head|classifier)\.(?!norm\.).*", "the classifier or projection head, unused"),)
PLAIN_NORM = "norm of an inner stage, which the published model does not have: initialised as an identity norm"

RESNET_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
"""Depth of a ResNet (He et al. 2016, table 1) by whether its blocks are bottlenecks, and its blocks per stage."""


def _measure_resnet(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    blocks = tuple(counts(tensors, r"layer(\d+)\.\d+\.conv1\.weight"))
    deep = "layer1.0.conv3.weight" in tensors
    depth = RESNET_DEPTHS.get((deep, blocks))
    if depth is None:
        raise ValueError(f"stages of {blocks} {'bottleneck' if deep else 'basic'} blocks")
    if stated.get("downsample_in_bottleneck"):
        raise ValueError("downsample_in_bottleneck in config.json: the first convolution of a block strides")
    width = tensors["conv1.weight"].shape[0]
    return {"type": "mmdet.ResNet", "depth": depth, "base_channels": width, "out_indices": [0, 1, 2, 3]}


def _measure_convnext(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    depths = counts(tensors, r"stages\.(\d+)\.\d+\.dwconv\.weight")
    return {
        "type": "mmdet.ConvNeXt",
        "depths": depths,
        "dims": [tensors[f"stages.{i}.0.dwconv.weight"].shape[0] for i in range(len(depths))],
        "layer_scale": 1e-6 if "stages.0.0.gamma" in tensors else 0.0,
        "out_indices": list(range(len(depths))),
        "pooled_norm": True,
    }


def _finish_convnext(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """The only norm outside the stages becomes that of the last stage; DINOv3 stores it twice."""
    last = max((int(match[1]) for name in ours if (match := re.match(r"stages\.(\d+)\.", name))), default=0)
    for kind in ("weight", "bias"):
        again, norm = ours.pop(f"again.{kind}", None), ours.pop(f"norm.{kind}", None)
        if norm is not None:
            ours[f"norm{last}.{kind}"] = norm
        if again is not None and (norm is None or not (norm.is_meta or torch.equal(again, norm))):
            raise ValueError(f"norms.{last}.{kind} differs from norm.{kind}")
    for name, here in loaded.items():
        loaded[name] = re.sub(r"^(norm|again)\.", f"norm{last}.", here)


def _measure_swinv2(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    below = "encoder.encoder.layers"
    depths = counts(tensors, rf"{re.escape(below)}\.(\d+)\.blocks\.\d+\.attention\.self\.logit_scale")
    width = tensors["encoder.embeddings.patch_embeddings.projection.weight"].shape[0]
    hidden = tensors[f"{below}.0.blocks.0.intermediate.dense.weight"].shape[0]
    names = [f"layers.{stage}.blocks.0.attn.relative_coords_table" for stage in range(len(depths))]
    if all(name in raw for name in names):
        mask = raw.get("layers.0.blocks.1.attn_mask", raw.get("layers.0.blocks.1.attn.attn_mask"))
        windows = _windows([raw[name] for name in names], mask)
    elif "window_size" in stated:
        windows = {name: stated[name] for name in _SWINV2_STATED if name in stated}
    else:
        raise ValueError("nothing that says the size of the windows (relative_coords_table, or config.json beside it)")
    return {
        "type": "transformers.Swinv2Model",
        "embed_dim": width,
        "depths": depths,
        "num_heads": [tensors[f"{below}.{i}.blocks.0.attention.self.logit_scale"].shape[0] for i in range(len(depths))],
        "mlp_ratio": hidden / width,
        "qkv_bias": f"{below}.0.blocks.0.attention.self.query.bias" in tensors,
        "layer_norm_eps": float(stated.get("layer_norm_eps", 1e-5)),
        **windows,
    }


_SWINV2_STATED = ("window_size", "image_size", "pretrained_window_sizes")


def _windows(tables: list[Tensor], mask: Tensor | None) -> dict[str, Any]:
    """Size of windows and images, and the windows of the pretraining, from the published buffers.

    The tables hold logarithmic coordinates: the greatest is log8(1 + 8 * (w - 1) / (p - 1)) for a window of w and one
    of p in pretraining.
    """
    sides = [(table.shape[1] + 1) // 2 for table in tables]
    before = []
    for table, side in zip(tables, sides, strict=True):
        ratio = (8 ** float(table.max()) - 1) / 8 if side > 1 else 1.0
        before.append(0 if abs(ratio - 1) < 1e-3 else round(1 + (side - 1) / ratio))
    image_size = 4 * sides[0] * 8 if mask is None else 4 * sides[0] * math.isqrt(mask.shape[0])
    return {"window_size": sides[0], "image_size": image_size, "pretrained_window_sizes": before}


def _finish_swinv2(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """timm from 0.9 on has patch merging at the start of the next stage."""
    last = max(int(match[1]) for name in ours if (match := re.match(r"encoder\.encoder\.layers\.(\d+)\.", name)))
    merge = re.compile(r"(encoder\.encoder\.layers\.)(\d+)(\.downsample\..*)")
    if f"encoder.encoder.layers.{last}.downsample.reduction.weight" in ours:
        moved = {n: f"{m[1]}{int(m[2]) - 1}{m[3]}" for n in ours if (m := merge.fullmatch(n))}
        values = {moved[name]: ours.pop(name) for name in moved}
        ours |= values
        for name, here in loaded.items():
            loaded[name] = moved.get(here, here)


def _resnet_stage(match: re.Match[str]) -> str:
    return f"layer{int(match[1]) + 1}.{match[2]}."


def _resnet_layer(match: re.Match[str]) -> str:
    return f".{'conv' if match[2] == 'convolution' else 'bn'}{int(match[1]) + 1}."


RESNET = Family(
    "ResNet",
    ((r"layer1\.0\.conv1\.weight",), (r"embedder\.embedder\.convolution\.weight",)),
    CLASSIFIER,
    (
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", _resnet_stage),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
        (r"\.layer\.(\d+)\.(convolution|normalization)\.", _resnet_layer),
    ),
    _measure_resnet,
    ((r".*\.num_batches_tracked", "counter that early files lack"),),
)

CONVNEXT = Family(
    "ConvNeXt",
    (
        (r"stages\.0\.(blocks\.)?0\.(dwconv|conv_dw)\.weight",),
        (r"encoder\.stages\.0\.layers\.0\.dwconv\.weight",),
        (r"(model\.)?stages\.0\.layers\.0\.depthwise_conv\.weight",),
    ),
    CLASSIFIER,
    (
        (r"^(encoder|model)\.stages\.", "stages."),  # Hugging Face's
        (r"^embeddings\.patch_embeddings\.", "downsample_layers.0.0."),
        (r"^embeddings\.layernorm\.", "downsample_layers.0.1."),
        (r"^stages\.(\d+)\.(downsampling_layer|downsample_layers)\.", r"downsample_layers.\1."),
        (r"^stages\.(\d+)\.layers\.", r"stages.\1."),
        (r"\.depthwise_conv\.", ".dwconv."),
        (r"\.pointwise_conv([12])\.", r".pwconv\1."),
        (r"\.layer_scale_parameter$", ".gamma"),
        (r"(?<=\d)\.layer_?norm\.", ".norm."),
        (r"^layer_?norm\.", "norm."),
        (r"^norms\.\d+\.", "again."),  # DINOv3's
        (r"^stem\.", "downsample_layers.0."),  # timm's
        (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d+)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc([12])\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
    ),
    _measure_convnext,
    ((r"norm\d+\.(weight|bias)", PLAIN_NORM),),
    finish=_finish_convnext,
)

SWINV2 = Family(
    "Swin v2",
    ((r"(encoder\.)?layers\.0\.blocks\.0\.(attn|attention\.self)\.logit_scale",),),
    (
        *CLASSIFIER,
        (r"layers\..*\.(relative_position_index|relative_coords_table)", "follows from the window size, recomputed"),
        (r"layers\..*\.attn_mask", "follows from image and window size, recomputed"),
        (r"(embeddings\.)?mask_token", "token of the pretraining, unused"),
        (r"pooler\..*", "pooling, unused"),
    ),
    (
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^patch_embed\.norm\.", "embeddings.norm."),
        (r"^norm\.", "layernorm."),
        (r"^layers\.", "encoder.layers."),
        (r"\.attn\.cpb_mlp\.", ".attention.self.continuous_position_bias_mlp."),
        (r"\.attn\.q_bias$", ".attention.self.query.bias"),
        (r"\.attn\.v_bias$", ".attention.self.value.bias"),
        (r"\.attn\.qkv\.", ".attention.self.{query,key,value}."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.attn\.logit_scale$", ".attention.self.logit_scale"),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"^(embeddings|encoder|layernorm)\.", r"encoder.\1."),
    ),
    _measure_swinv2,
    ((r"norm\d+\.(weight|bias)", PLAIN_NORM),),
    finish=_finish_swinv2,
)
