"""What a Swin is, read off the shapes of its weights: width, depths, heads, window. Nothing is assumed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import shift_rule

PATCH_SIZE = 4
"""Of all published Swins; mmdet's patch embedding takes others, their weights do not go elsewhere."""


@dataclass(frozen=True, slots=True)
class SwinShape:
    """Measures of a Swin.

    Attributes:
        embed_dims: channels of the first stage; each following stage has twice as many.
        depths: blocks a stage.
        num_heads: attention heads a stage.
        window_size: side of a window in tokens.
        mlp_ratio: hidden width of the MLP over the stage's channels.
    """

    embed_dims: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    mlp_ratio: int

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], where: str) -> SwinShape:
        """Reads the measures off a state dict under our names and holds every tensor against them.

        Args:
            tensors: of the backbone alone; index buffers may be absent.
            where: file, for messages.

        Raises:
            CheckpointError: not a Swin, a window that is no square or not everywhere the same, a tensor missing, too
                many, or of another shape.
        """
        try:
            depths = Counter(int(n.split(".")[1]) for n in tensors if n.endswith(".attn.w_msa.qkv.weight"))
            stages = range(len(depths))
            tables = [tensors[f"stages.{i}.blocks.0.attn.w_msa.relative_position_bias_table"] for i in stages]
            embed_dims = tensors["patch_embed.projection.weight"].shape[0]
            hidden = tensors["stages.0.blocks.0.ffn.layers.0.0.weight"].shape[0]
        except KeyError as error:
            raise CheckpointError(where, f"has no tensor {error}", "the weights of a Swin, whole") from error
        windows = sorted({_window(table, where) for table in tables})
        if len(windows) != 1:
            fix = "a model built for images so small that its last windows shrank cannot be carried over"
            found = f"windows of {' and '.join(map(str, windows))} tokens in one model"
            raise CheckpointError(where, found, "one window size in all stages", fix)
        heads = tuple(table.shape[1] for table in tables)
        shape = cls(embed_dims, tuple(depths[i] for i in stages), heads, windows[0], hidden // embed_dims)
        shape.check(tensors, where)
        return shape

    def check(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Refuses tensors that are missing, too many or of another shape. Raises CheckpointError."""
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
            raise CheckpointError(where, found, f"a whole Swin: {self}", "the file may be torn or of another network")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of mmdet's Swin of these measures, index buffers included."""
        width, window = self.embed_dims, self.window_size
        found = {"patch_embed.projection.weight": (width, 3, PATCH_SIZE, PATCH_SIZE)}
        found |= {"patch_embed.projection.bias": (width,)} | _norm("patch_embed.norm", width)
        for i, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            width = self.embed_dims * 2**i
            for j in range(depth):
                block = f"stages.{i}.blocks.{j}"
                attention, hidden = f"{block}.attn.w_msa", self.mlp_ratio * width
                found |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
                found[f"{attention}.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
                found[f"{attention}.relative_position_index"] = (window**2, window**2)
                found |= _linear(f"{attention}.qkv", width, 3 * width) | _linear(f"{attention}.proj", width, width)
                found |= _linear(f"{block}.ffn.layers.0.0", width, hidden)
                found |= _linear(f"{block}.ffn.layers.1", hidden, width)
            found |= _norm(f"norm{i}", width)
            if i < len(self.depths) - 1:
                found |= _norm(f"stages.{i}.downsample.norm", 4 * width)
                found[f"stages.{i}.downsample.reduction.weight"] = (2 * width, 4 * width)
        return found

    def describe(self) -> str:
        """For people."""
        return (
            f"Swin: embed_dims {self.embed_dims}, depths {self.depths}, heads {self.num_heads}, "
            f"window {self.window_size}"
        )

    def config(self, kind: str = "mmdet.PublishedSwin") -> dict[str, Any]:
        """``model.backbone`` of a configuration; ``kind`` says which rule of shifting (``models/swin.py``)."""
        return {
            "type": kind,
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
        model: student or teacher.
        name: of the format, for the message.
        image_size: of the run, in pixels.

    Raises:
        ConfigError: the backbone is no Swin, so that the format has no names for it; or its last map is smaller than
            a window, which is padded here and shrinks elsewhere, with other weights.
        CheckpointError: a Swin with parts that the published one lacks, such as absolute position embeddings.
    """
    if shift_rule(model.backbone.net) is None:
        found = f"the backbone is {model.config.backbone['type']}"
        fix = "backbone, mmdet, mmseg, onnx and torch-export take every backbone"
        raise ConfigError(f"export to {name}", found, "a Swin: of no other the names are known", fix)
    tensors = model.backbone.net.state_dict()
    shape = SwinShape.read(tensors, f"export to {name}")
    last_map = image_size // (PATCH_SIZE * 2 ** (len(shape.depths) - 1))
    if shift_rule(model.backbone.net) == "published" and last_map < shape.window_size:
        found = f"the last map is {last_map} tokens wide at {image_size} pixels, the window {shape.window_size}"
        raise ConfigError(f"export to {name}", found, "a last map of at least one window", "use a larger image_size")
    return tensors, shape


def _window(table: Tensor, where: str) -> int:
    """Side w of the window of a bias table of (2w - 1)^2 rows."""
    rows = table.shape[0]
    side = math.isqrt(rows)
    if side * side != rows or side % 2 == 0:
        expected = "(2w - 1)^2 rows for a window of w (169 for 7, 529 for 12)"
        raise CheckpointError(where, f"a relative position bias table of {rows} rows", expected)
    return (side + 1) // 2


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, width: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}
