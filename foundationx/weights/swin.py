"""Swin transformers in this project and elsewhere: their measures, and the names of their weights.

The measures (width, depths, heads, window) are read from the shapes of the weights. The four pixels that patch merging
joins are stored channel by channel in mmdet (its ``Unfold``), but pixel by pixel, column by column, elsewhere:
``downsample`` weights are re-ordered, not only renamed (docs/weights.md).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_state

PATCH_SIZE = 4
"""Patch size of all published Swins; mmdet supports others, whose weights other libraries cannot use."""


EPS = 1e-5
"""Of the layer norms of Swins, if nothing else is said."""

NETWORKS = {"published": "mmdet.PublishedSwin", "always": "mmdet.SwinTransformer"}
"""Backbone of each rule of shifting."""


@dataclass(frozen=True, slots=True)
class SwinShape:
    """Measures of a Swin.

    Attributes:
        embed_dims: Channels of the first stage; each following stage has twice as many.
        depths: Blocks per stage.
        num_heads: Attention heads per stage.
        window_size: Side of a window in tokens.
        mlp_ratio: Hidden width of the MLP over the stage's channels.
        shift: Rule for windows that cover the whole map: ``published`` (not shifted) or ``always``
            (``models/swin.py``). Neither it nor ``eps`` can be read off the weights.
        eps: Of the layer norms.
    """

    embed_dims: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    mlp_ratio: int
    shift: str = "published"
    eps: float = EPS

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], where: str) -> SwinShape:
        """Reads the measures from a state dict under our names and checks every tensor against them.

        Args:
            tensors: Tensors of the backbone alone; index buffers may be absent.
            where: File, for messages.

        Raises:
            CheckpointError: Not a Swin, windows that are not square or differ between stages, missing or unexpected
                tensors, or tensors of another shape.
        """
        try:
            depths = Counter(int(n.split(".")[1]) for n in tensors if n.endswith(".attn.w_msa.qkv.weight"))
            stages = range(len(depths))
            tables = [tensors[f"stages.{i}.blocks.0.attn.w_msa.relative_position_bias_table"] for i in stages]
            embed_dims = tensors["patch_embed.projection.weight"].shape[0]
            hidden = tensors["stages.0.blocks.0.ffn.layers.0.0.weight"].shape[0]
        except KeyError as error:
            found, fix = f"has no tensor {error}", "fetch the file again, or choose another --kind"
            raise CheckpointError(where, found, "the complete weights of a Swin", fix) from error
        windows = sorted({_window(table, where) for table in tables})
        if len(windows) != 1:
            fix = "a model built for images so small that its last windows shrank cannot be carried over"
            found = f"windows of {' and '.join(map(str, windows))} tokens in one model"
            raise CheckpointError(where, found, "one window size in all stages", fix)
        heads = tuple(table.shape[1] for table in tables)
        shape = cls(embed_dims, tuple(depths[i] for i in stages), heads, windows[0], hidden // embed_dims)
        shape.check(tensors, where)
        return shape

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.embed_dims * 2 ** (len(self.depths) - 1)

    def check(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Raises CheckpointError if tensors are missing, unexpected or of another shape."""
        expected, last = self.shapes(), len(self.depths) - 1
        optional = {f"norm{i}.{kind}" for i in range(last) for kind in ("weight", "bias")}
        optional |= {name for name in expected if name.endswith("relative_position_index")}
        missing = sorted(expected.keys() - tensors.keys() - optional)
        extra = sorted(tensors.keys() - expected.keys())
        wrong = [
            f"{name} {tuple(tensors[name].shape)} (expected {shape})"
            for name, shape in expected.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ]
        if missing or extra or wrong:
            found = "; ".join(
                f"{len(names)} {what}: {', '.join(names[:3])}"
                for what, names in (("missing", missing), ("unexpected", extra), ("of another shape", wrong))
                if names
            )
            fix = "the file is of another network, or was saved in part"
            raise CheckpointError(where, found, f"a complete {self.describe()}", fix)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of mmdet's Swin of these measures, index buffers included."""
        width, window = self.embed_dims, self.window_size
        shapes: dict[str, tuple[int, ...]] = {"patch_embed.projection.weight": (width, 3, PATCH_SIZE, PATCH_SIZE)}
        shapes |= {"patch_embed.projection.bias": (width,)} | _norm("patch_embed.norm", width)
        for i, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            width = self.embed_dims * 2**i
            for j in range(depth):
                block = f"stages.{i}.blocks.{j}"
                attention, hidden = f"{block}.attn.w_msa", self.mlp_ratio * width
                shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
                shapes[f"{attention}.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
                shapes[f"{attention}.relative_position_index"] = (window**2, window**2)
                shapes |= _linear(f"{attention}.qkv", width, 3 * width) | _linear(f"{attention}.proj", width, width)
                shapes |= _linear(f"{block}.ffn.layers.0.0", width, hidden)
                shapes |= _linear(f"{block}.ffn.layers.1", hidden, width)
            shapes |= _norm(f"norm{i}", width)
            if i < len(self.depths) - 1:
                shapes |= _norm(f"stages.{i}.downsample.norm", 4 * width)
                shapes[f"stages.{i}.downsample.reduction.weight"] = (2 * width, 4 * width)
        return shapes

    def describe(self) -> str:
        """The measures as text."""
        return (
            f"Swin: embed_dims {self.embed_dims}, depths {self.depths}, heads {self.num_heads}, "
            f"window {self.window_size}, shift {self.shift}, eps {self.eps:g}"
        )

    def config(self) -> dict[str, Any]:
        """``model.backbone`` of a configuration."""
        norm = {"norm_cfg": {"type": "LN", "eps": self.eps}} if self.eps != EPS else {}
        return norm | {
            "type": NETWORKS[self.shift],
            "embed_dims": self.embed_dims,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "window_size": self.window_size,
            "mlp_ratio": self.mlp_ratio,
            "out_indices": list(range(len(self.depths))),
        }


def swin_weights(model: FoundationModel, name: str, image_size: int) -> tuple[dict[str, Tensor], SwinShape]:
    """The backbone's state dict under our names, and its measures.

    Args:
        model: Student or teacher.
        name: Name of the format, for messages.
        image_size: Image size of the run in pixels.

    Raises:
        ConfigError: The backbone is no Swin, so that the format has no names for it; or its last map is smaller than
            a window, which is padded here and shrinks elsewhere, with other weights.
        CheckpointError: A Swin with parts that the published one lacks, such as absolute position embeddings.
    """
    rule = shift_rule(model.backbone.net)
    if rule is None:
        found = f"the backbone is {model.config.backbone['type']}"
        fix = "choose backbone, mmdet, mmseg, onnx or torch-export, which support every backbone"
        raise ConfigError(f"export to {name}", found, "a Swin; the format has no names for others", fix)
    tensors = plain_state(model.backbone.net)
    eps = next(module.eps for module in model.backbone.net.modules() if isinstance(module, nn.LayerNorm))
    shape = replace(SwinShape.read(tensors, f"export to {name}"), shift=rule, eps=eps)
    last_map = image_size // (PATCH_SIZE * 2 ** (len(shape.depths) - 1))
    if rule == "published" and last_map < shape.window_size:
        found = f"the last map is {last_map} tokens wide at {image_size} pixels, the window {shape.window_size}"
        raise ConfigError(f"export to {name}", found, "a last map of at least one window", "use a larger image_size")
    return tensors, shape


def _window(table: Tensor, where: str) -> int:
    """Side w of the window of a bias table of (2w - 1)^2 rows."""
    rows = table.shape[0]
    side = math.isqrt(rows)
    if side * side != rows or side % 2 == 0:
        expected = "(2w - 1)^2 rows for a window of w (169 for 7, 529 for 12)"
        found = f"a relative position bias table of {rows} rows"
        raise CheckpointError(where, found, expected, "the file is of another network")
    return (side + 1) // 2


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, width: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def shift_rule(net: nn.Module) -> str | None:
    """How a Swin shifts windows that cover the whole map: ``always`` (mmdet) or ``published`` (``models/swin.py``).

    None if the backbone is no Swin. The two cannot be distinguished by names and shapes of the weights.
    """
    return rule_of(type(net).__name__)


def rule_of(name: str) -> str | None:
    """The rule of shifting of a class, or of ``model.backbone.type``; None if it is no Swin."""
    return {"SwinTransformer": "always", "PublishedSwin": "published"}.get(name.rpartition(".")[2])


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
    """Index of the last stage in a state dict under our names."""
    return max(int(name.split(".")[1]) for name in tensors if name.startswith("stages."))


def to_timm(tensors: Mapping[str, Tensor], merge_first: bool) -> dict[str, Tensor]:
    """Converts our names to timm's. The norms of all stages but the last are omitted: timm has none.

    Args:
        tensors: State dict of an mmdet or mmseg Swin.
        merge_first: Whether patch merging belongs to the stage after it and index buffers are not stored (timm from
            0.9); otherwise it belongs to the stage before it, with index buffers (timm to 0.6, Ark, Foundation X).
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
    """Converts timm's names to ours, for either position of patch merging.

    The final ``norm`` becomes that of the last stage; names that are not Swin's stay as they are.
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
    """Converts our names to those of ``SwinModel`` and ``SwinBackbone`` (transformers, names of version 4)."""
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


def from_hugging_face(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Converts the names of ``SwinModel``, ``SwinBackbone`` and models on them (transformers, version 4) to ours.

    Args:
        tensors: State dict. The prefix ``swin.`` is removed; names that are not Swin's stay as they are.

    Returns:
        Tensors under our names; name in the file -> our name.
    """
    back = [(theirs, ours) for ours, theirs in _HUGGING_FACE if ours != ".attn.w_msa."]
    stages = [int(match[1]) for name in tensors if (match := re.search(r"encoder\.layers\.(\d+)\.", name))]
    renamed, names = {}, {}
    for name in tensors:
        plain = name.removeprefix("swin.")
        if match := re.fullmatch(r"hidden_states_norms\.stage(\d+)\.(weight|bias)", plain):
            new = f"norm{int(match[1]) - 1}.{match[2]}"
        elif plain.startswith("layernorm."):
            new = plain.replace("layernorm", f"norm{max(stages, default=0)}")
        else:
            new = _rename(plain, back).replace(".attention.self.", ".attn.w_msa.")
        names[name] = re.sub(r"\.(query|key|value)\.", ".qkv.", new)
    for name, new in names.items():
        if ".query." in name:
            parts = [tensors[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            renamed[new] = torch.cat(parts)
        elif ".qkv." not in new:
            renamed[new] = _channel_by_channel(tensors[name]) if _MERGE.match(new) else tensors[name].clone()
    return renamed, names


def _rename(name: str, names: Names) -> str:
    """Replaces parts of a name; a part without a leading dot only at the name's start."""
    for old, new in names:
        if old.startswith("."):
            name = name.replace(old, new, 1)
        elif name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def _pixel_by_pixel(merged: Tensor) -> Tensor:
    """Re-orders (..., C * 2 * 2) from mmdet's (channel, row, column) to (column, row, channel)."""
    return merged.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3).contiguous()


def _channel_by_channel(merged: Tensor) -> Tensor:
    """The inverse: re-orders (column, row, channel) to (channel, row, column)."""
    return merged.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3).contiguous()
