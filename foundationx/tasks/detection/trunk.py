"""What detection shares between datasets: neck, deformable encoder and, in Foundation X+, the decoder.

DINO (Zhang et al., 2023) as Foundation X uses it (``docs/methods/foundation_x.md``, "1.3 Detection"), of mmdet's layers
with our deformable attention inside. Images of a batch have one size here; a batch that is padded at the right and at
the bottom, as the released networks may have it at test, comes with a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core import openmmlab
from foundationx.core.config.model import DetectionConfig
from foundationx.tasks.detection.deformable import DeformableAttention

NECK_STAGES = 3
"""Stages of the backbone that the neck takes, the coarsest ones; further levels are strided convolutions."""


@dataclass(slots=True)
class Memory:
    """The encoder's output: ``memory`` (B, N, D), N tokens of all levels, finest first; and the levels' sizes.

    ``padding`` is None if no image of the batch is padded.
    """

    memory: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    padding: Padding | None = None


@dataclass(slots=True)
class Padding:
    """Padding of a batch on the maps.

    Attributes:
        tokens: (B, N), True for a token of the padding.
        shares: (B, levels, 2), width and height of the image as shares of each level's.
        own_shares: (B, N, 2), those of the level that a token is of.
    """

    tokens: Tensor
    shares: Tensor
    own_shares: Tensor

    @classmethod
    def on_maps(cls, padded: Tensor, shapes: Sequence[tuple[int, int]]) -> Padding:
        """Padding of images (B, H, W), True for a padded pixel, on maps of these sizes."""
        maps = [F.interpolate(padded[:, None].float(), shape)[:, 0].bool() for shape in shapes]
        shares = torch.stack(
            [torch.stack([(~m[:, 0]).float().mean(1), (~m[:, :, 0]).float().mean(1)], 1) for m in maps]
        )
        own = [share[:, None].expand(-1, m[0].numel(), -1) for share, m in zip(shares, maps, strict=True)]
        return cls(torch.cat([m.flatten(1) for m in maps], 1), shares.transpose(0, 1), torch.cat(own, 1))


class DetectionTrunk(nn.Module):
    """Neck and encoder; with ``sharing='queries'`` the decoder as well.

    Args:
        in_channels: Channels of the backbone's stages, finest first; the last ``NECK_STAGES`` are used.
        config: Sizes.
        neck_bias: Whether the neck's convolutions have a bias before their norm.
    """

    stages = NECK_STAGES  # of the backbone, the last

    def __init__(self, in_channels: Sequence[int], config: DetectionConfig, *, neck_bias: bool = False):
        super().__init__()
        self.config = config
        dims = config.embed_dims
        self.neck = openmmlab.build_mm(
            {
                "type": "mmdet.ChannelMapper",
                "in_channels": list(in_channels[-NECK_STAGES:]),
                "kernel_size": 1,
                "out_channels": dims,
                "act_cfg": None,
                "norm_cfg": {"type": "GN", "num_groups": math.gcd(32, dims // 2)},
                "num_outs": config.levels,
                "bias": neck_bias,
            }
        )
        _initialise(self.neck)
        self.level_embed = nn.Parameter(torch.empty(config.levels, dims))
        nn.init.normal_(self.level_embed)
        self.encoder = _build_encoder(config)
        if config.sharing == "queries":
            self.decoder = build_decoder(config)

    def forward(self, features: Sequence[Tensor], padded: Tensor | None = None) -> Memory:
        """Feature maps to the encoder's memory.

        Args:
            features: Maps (B, C, h, w) of the backbone's stages.
            padded: (B, H, W), True for a pixel of the padding at the right or at the bottom; None if there is none.
        """
        maps = self.neck(tuple(features[-NECK_STAGES:]))
        shapes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        padding = None if padded is None else Padding.on_maps(padded, shapes)
        encodings = [
            _sine_encoding(
                shape,
                self.config.embed_dims,
                self.config.temperature,
                tokens,
                None if padding is None else padding.shares[:, number],
            )
            + self.level_embed[number]
            for number, shape in enumerate(shapes)
        ]
        position = torch.cat(encodings, dim=-2).expand_as(tokens)
        centres = token_centres(shapes, tokens)[None, :, None].expand(len(tokens), -1, len(shapes), -1)
        if padding is not None:
            centres = centres / padding.own_shares[:, :, None] * padding.shares[:, None]
        for layer in self.encoder.get_submodule("layers").children():
            tokens = layer(
                query=tokens,
                query_pos=position,
                key_padding_mask=None if padding is None else padding.tokens,
                spatial_shapes=shapes,
                reference_points=centres,
            )
        return Memory(tokens, shapes, padding)


class _FusedAttention(nn.MultiheadAttention):
    """Never gives its weights, so torch takes the fused kernel: no (B, heads, Q, Q) tensor is saved for backward."""

    def forward(self, *inputs: Any, **masks: Any) -> tuple[Tensor, Tensor | None]:
        return super().forward(*inputs, **masks | {"need_weights": False})


class _PositionEncoder(nn.Module):
    """Position of a query from the sines of its box: Linear-ReLU-Linear, 2 * dims numbers to ``dims``, as in DINO.

    mmdet's decoder has 4 * dims numbers here, so that published decoders do not fit it.
    """

    def __init__(self, dims: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2 * dims, dims), nn.Linear(dims, dims)])

    def forward(self, sines: Tensor) -> Tensor:
        """(B, R, 2 * dims) to (B, R, dims)."""
        return self.layers[1](self.layers[0](sines).relu())


def build_decoder(config: DetectionConfig) -> nn.Module:
    """mmdet's DINO decoder (its weights' names) with DINO's position encoder, run by ``run_decoder``."""
    from foundationx.core.openmmlab import DinoTransformerDecoder

    dims = config.embed_dims
    decoder = DinoTransformerDecoder(
        num_layers=config.decoder_layers,
        return_intermediate=True,
        layer_cfg={
            "self_attn_cfg": {"embed_dims": dims, "num_heads": config.num_heads, "dropout": 0.0},
            "cross_attn_cfg": {"embed_dims": dims, "num_heads": config.num_heads},
            "ffn_cfg": {"embed_dims": dims, "feedforward_channels": config.ffn_dims, "ffn_drop": 0.0},
        },
        post_norm_cfg=None,
    )
    for layer in decoder.layers:
        layer.self_attn.attn = _FusedAttention(dims, config.num_heads)
    decoder.ref_point_head = _PositionEncoder(dims)
    _initialise(decoder)
    for layer in decoder.layers:
        layer.cross_attn = DeformableAttention(dims, config.num_heads, config.levels, config.points)
    return decoder


def _build_encoder(config: DetectionConfig) -> nn.Module:
    from foundationx.core.openmmlab import DeformableDetrTransformerEncoder

    dims = config.embed_dims
    encoder = DeformableDetrTransformerEncoder(
        num_layers=config.encoder_layers,
        layer_cfg={
            "self_attn_cfg": {"embed_dims": dims, "num_heads": config.num_heads},
            "ffn_cfg": {"embed_dims": dims, "feedforward_channels": config.ffn_dims, "ffn_drop": 0.0},
        },
    )
    _initialise(encoder)
    for layer in encoder.layers:
        layer.self_attn = DeformableAttention(dims, config.num_heads, config.levels, config.points)
    return encoder


def _initialise(module: nn.Module) -> None:
    """Xavier for every weight matrix, as DINO does; attention that is set afterwards initialises itself."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def token_centres(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Centre of every token, (N, 2) x and y as shares of the image, in single precision or better."""
    centres = []
    dtype = torch.promote_types(like.dtype, torch.float32)
    for height, width in shapes:
        y = (torch.arange(height, device=like.device, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=dtype) + 0.5) / width
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2))
    return torch.cat(centres)


def _sine_encoding(
    shape: tuple[int, int], dims: int, temperature: float, like: Tensor, share: Tensor | None = None
) -> Tensor:
    """Sine position encoding of one level, (h * w, D): half of it for y, half for x.

    With ``share`` (B, 2), width and height of padded images as shares of the level's, it is (B, h * w, D).

    As published (and in mmdet's weights), a token stands for its far corner here, not for its centre.
    """
    height, width = shape
    y = torch.arange(1, height + 1, device=like.device, dtype=torch.float32) * (2 * math.pi / height)
    x = torch.arange(1, width + 1, device=like.device, dtype=torch.float32) * (2 * math.pi / width)
    positions = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).view(-1, 2)
    if share is not None:
        positions = positions / share.flip(-1)[:, None]
    return sine_of(positions, dims // 2, temperature).to(like.dtype)


def sine_of(coordinates: Tensor, dims: int, temperature: float) -> Tensor:
    """Sines and cosines of (..., n) coordinates in radians, interleaved: (..., n * dims)."""
    steps = torch.arange(dims, device=coordinates.device, dtype=torch.float32)
    frequencies = temperature ** (2 * torch.div(steps, 2, rounding_mode="floor") / dims)
    angles = coordinates[..., None] / frequencies
    waves = torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1)
    return waves.flatten(-3)
