"""Swin's weights under the names of other libraries (the table stands in ``docs/weights.md``).

The four pixels that patch merging joins lie channel by channel in mmdet (its ``Unfold``), pixel by pixel, column by
column, everywhere else: ``downsample`` weights are re-ordered, not only renamed (``ark.md`` section 6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Names = Sequence[tuple[str, str]]

_TIMM: Names = (
    ("patch_embed.projection.", "patch_embed.proj."),
    ("stages.", "layers."),
    (".attn.w_msa.", ".attn."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)
_HUGGING_FACE: Names = (
    ("patch_embed.projection.", "embeddings.patch_embeddings.projection."),
    ("patch_embed.norm.", "embeddings.norm."),
    ("stages.", "encoder.layers."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".attn.w_msa.proj.", ".attention.output.dense."),
    (".attn.w_msa.", ".attention.self."),
    (".ffn.layers.0.0.", ".intermediate.dense."),
    (".ffn.layers.1.", ".output.dense."),
)
_STAGE_NORM = re.compile(r"norm(\d+)\.")
_MERGE = re.compile(r"(layers|stages)\.(\d+)\.downsample\.")


def last_stage(tensors: Mapping[str, Tensor]) -> int:
    """Index of the last stage of a Swin under our names."""
    return max(int(name.split(".")[1]) for name in tensors if name.startswith("stages."))


def to_timm(tensors: Mapping[str, Tensor], merge_first: bool) -> dict[str, Tensor]:
    """Our names to timm's. The norms of all stages but the last are left out: timm has none.

    Args:
        tensors: state dict of an mmdet or mmseg Swin.
        merge_first: patch merging belongs to the stage after it, and index buffers are not stored (timm from 0.9);
            otherwise to the stage before it, with index buffers (timm to 0.6, Ark, Foundation X).
    """
    last, renamed = last_stage(tensors), {}
    for name, value in tensors.items():
        stage_norm = _STAGE_NORM.match(name)
        if merge_first and name.endswith("relative_position_index"):
            continue
        if stage_norm and int(stage_norm[1]) < last:
            continue
        new = f"norm.{name.removeprefix(stage_norm[0])}" if stage_norm else _rename(name, _TIMM)
        if merge_first:
            new = _MERGE.sub(lambda match: f"{match[1]}.{int(match[2]) + 1}.downsample.", new)
        renamed[new] = _pixel_by_pixel(value) if _MERGE.match(name) else value.clone()
    return renamed


def from_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's names to ours; where patch merging lies is read off the names.

    The final ``norm`` becomes that of the last stage; names that are not Swin's are kept as they are.
    """
    back = [(theirs, ours) for ours, theirs in _TIMM]
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("layers."))
    merge_first = f"layers.{last}.downsample.reduction.weight" in tensors
    renamed = {}
    for name, value in tensors.items():
        new = f"norm{last}.{name.removeprefix('norm.')}" if name.startswith("norm.") else _rename(name, back)
        if merge_first:
            new = _MERGE.sub(lambda match: f"{match[1]}.{int(match[2]) - 1}.downsample.", new)
        renamed[new] = _channel_by_channel(value) if _MERGE.match(name) else value.clone()
    return renamed


def to_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names to those of ``SwinModel`` and ``SwinBackbone`` of transformers (their published, version 4 names)."""
    last, renamed = last_stage(tensors), {}
    for name, value in tensors.items():
        stage_norm = _STAGE_NORM.match(name)
        if stage_norm:
            kind, stage = name.removeprefix(stage_norm[0]), int(stage_norm[1])
            renamed[f"hidden_states_norms.stage{stage + 1}.{kind}"] = value.clone()
            if stage == last:
                renamed[f"layernorm.{kind}"] = value.clone()
        elif ".w_msa.qkv." in name:
            base, kind = _rename(name, _HUGGING_FACE).split("qkv.")
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"{base}{part}.{kind}"] = rows.clone()
        else:
            renamed[_rename(name, _HUGGING_FACE)] = _pixel_by_pixel(value) if _MERGE.match(name) else value.clone()
    return renamed


def _rename(name: str, names: Names) -> str:
    """Replaces parts of a name; a part without a leading dot only at the name's start."""
    for old, new in names:
        if old.startswith("."):
            name = name.replace(old, new, 1)
        elif name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def _pixel_by_pixel(merged: Tensor) -> Tensor:
    """(..., C * 2 * 2) as mmdet's Unfold lays channel, row, column out, to (..., column, row, channel)."""
    return merged.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3).contiguous()


def _channel_by_channel(merged: Tensor) -> Tensor:
    """The way back: (..., column, row, channel) to (..., channel, row, column)."""
    return merged.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3).contiguous()
