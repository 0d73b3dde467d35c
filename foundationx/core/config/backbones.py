"""Which backbones are built from files of others, and with which arguments.

A checkpoint, run folder or export describes the network that it holds. The registries of mmdet and mmseg build whatever
such a description names: nested dictionaries (``act_cfg={"type": "subprocess.Popen", ...}``) reach any importable
callable, and ``init_cfg`` or ``pretrained`` open files and addresses. So a description from a file is checked against
this list of networks, each argument with its type and range, before anything is built. A configuration that the user
wrote is code anyway and is not limited.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundationx.core.errors import ConfigError, nearest
from foundationx.core.strict_json import to_exact_json

UNUSED = ("init_cfg", "pretrained")
"""Arguments that name the source of weights. The weights are in the file itself: these are never followed."""

LAYERS = 64
"""Most blocks in one stage."""

Layer = Annotated[int, Field(ge=-1, lt=LAYERS)]
Width = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Stages = Annotated[tuple[Annotated[int, Field(ge=0, le=8)], ...], Field(min_length=1, max_length=5)]
Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=LAYERS)], ...], Field(min_length=3, max_length=5)]
Widths = Annotated[tuple[Width, ...], Field(min_length=3, max_length=5)]
Heads = Annotated[int, Field(ge=1, le=256)]
HeadCounts = Annotated[tuple[Heads, ...], Field(min_length=3, max_length=5)]
Patch = Annotated[int, Field(ge=4, le=64)]
Blocks = Annotated[int, Field(ge=1, le=LAYERS)]
Hidden = Annotated[int, Field(ge=1, le=32_768)]
Registers = Annotated[int, Field(ge=0, le=64)]
Act = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu"]
Pooled = Literal["patches", "class"]
Patches = Annotated[tuple[Annotated[int, Field(ge=2, le=64)], ...], Field(min_length=3, max_length=5)]
Steps = Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=3, max_length=5)]


class _Known(BaseModel):
    """Base of all descriptions: an argument that is not listed is refused, numbers are no texts."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Activation(_Known):
    """An activation layer of mmcv's list."""

    type: Literal["ReLU", "LeakyReLU", "PReLU", "ReLU6", "ELU", "GELU", "SiLU", "Swish", "HSwish", "Sigmoid", "Tanh"]
    inplace: bool = False
    negative_slope: float | None = Field(None, ge=0, le=1)


class Norm(_Known):
    """A normalisation layer of mmcv's list."""

    type: Literal["LN", "BN", "BN2d", "SyncBN", "GN", "IN", "IN2d", "LN2d"]
    eps: float | None = Field(None, gt=0, le=1)
    momentum: float | None = Field(None, ge=0, le=1)
    num_groups: int | None = Field(None, ge=1, le=4096)
    requires_grad: bool = True


class Conv(_Known):
    """A convolution layer of mmcv's list."""

    type: Literal["Conv2d", "Conv"]


class _Backbone(_Known):
    out_indices: Stages = (0, 1, 2, 3)
    with_cp: bool = False
    frozen_stages: int = Field(-1, ge=-1, le=8)


class Swin(_Backbone):
    """``mmdet.SwinTransformer``, and in mmseg."""

    pretrain_img_size: int = Field(224, ge=1, le=4096)
    in_channels: Literal[3] = 3
    embed_dims: Width = 96
    patch_size: int = Field(4, ge=2, le=64)
    window_size: int = Field(7, ge=1, le=32)
    mlp_ratio: float = Field(4, gt=0, le=16)
    depths: Depths = (2, 2, 6, 2)
    num_heads: HeadCounts = (3, 6, 12, 24)
    strides: Steps = (4, 2, 2, 2)
    qkv_bias: bool = True
    qk_scale: float | None = Field(None, gt=0, le=16)
    patch_norm: bool = True
    drop_rate: Rate = 0.0
    attn_drop_rate: Rate = 0.0
    drop_path_rate: Rate = 0.1
    use_abs_pos_embed: bool = False
    act_cfg: Activation = Activation(type="GELU")
    norm_cfg: Norm = Norm(type="LN")
    convert_weights: bool = False


class PublishedSwin(Swin):
    """``mmdet.PublishedSwin`` of this project."""

    fused_attention: bool = False


class ConvNeXt(_Known):
    """``mmdet.ConvNeXt`` of this project."""

    depths: Depths = (3, 3, 27, 3)
    dims: Widths = (128, 256, 512, 1024)
    drop_path_rate: Rate = 0.0
    layer_scale: float = Field(1e-6, ge=0, le=1)
    out_indices: Stages = (0, 1, 2, 3)
    pooled_norm: bool = False


class ResNet(_Backbone):
    """``ResNet``, ``ResNetV1d`` and mmseg's ``ResNetV1c``; ``ResNeXt`` with its groups."""

    depth: Literal[18, 34, 50, 101, 152]
    in_channels: Literal[3] = 3
    stem_channels: Width | None = None
    base_channels: Width = 64
    num_stages: int = Field(4, ge=3, le=4)
    strides: Steps = (1, 2, 2, 2)
    dilations: Steps = (1, 1, 1, 1)
    style: Literal["pytorch", "caffe"] = "pytorch"
    deep_stem: bool = False
    avg_down: bool = False
    conv_cfg: Conv | None = None
    norm_cfg: Norm = Norm(type="BN")
    norm_eval: bool = True
    zero_init_residual: bool = True
    contract_dilation: bool = False
    multi_grid: None = None


class ResNeXt(ResNet):
    """ResNet with grouped convolutions."""

    groups: int = Field(1, ge=1, le=256)
    base_width: int = Field(4, ge=1, le=1024)


class ViT(_Known):
    """``mmseg.VisionTransformer``."""

    img_size: Side | tuple[Side, Side] = 224
    patch_size: int = Field(16, ge=4, le=64)
    patch_pad: Literal["corner", "same"] = "corner"
    in_channels: Literal[3] = 3
    embed_dims: Width = 768
    num_layers: int = Field(12, ge=1, le=LAYERS)
    num_heads: int = Field(12, ge=1, le=256)
    mlp_ratio: float = Field(4, gt=0, le=16)
    out_origin: bool = False
    out_indices: Layer | Annotated[tuple[Layer, ...], Field(min_length=1, max_length=LAYERS)] = -1
    qkv_bias: bool = True
    drop_rate: Rate = 0.0
    attn_drop_rate: Rate = 0.0
    drop_path_rate: Rate = 0.0
    with_cls_token: bool = True
    output_cls_token: bool = False
    norm_cfg: Norm = Norm(type="LN")
    act_cfg: Activation = Activation(type="GELU")
    patch_norm: bool = False
    patch_bias: bool = False
    pre_norm: bool = False
    final_norm: bool = False
    interpolate_mode: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    num_fcs: int = Field(2, ge=2, le=4)
    norm_eval: bool = False
    with_cp: bool = False


class MixViT(_Known):
    """``mmseg.MixVisionTransformer``."""

    in_channels: Literal[3] = 3
    embed_dims: Width = 64
    num_stages: int = Field(4, ge=3, le=4)
    num_layers: Depths = (3, 4, 6, 3)
    num_heads: HeadCounts = (1, 2, 4, 8)
    patch_sizes: Patches = (7, 3, 3, 3)
    strides: Steps = (4, 2, 2, 2)
    sr_ratios: Steps = (8, 4, 2, 1)
    out_indices: Stages = (0, 1, 2, 3)
    mlp_ratio: float = Field(4, gt=0, le=16)
    qkv_bias: bool = True
    drop_rate: Rate = 0.0
    attn_drop_rate: Rate = 0.0
    drop_path_rate: Rate = 0.0
    act_cfg: Activation = Activation(type="GELU")
    norm_cfg: Norm = Norm(type="LN", eps=1e-6)
    with_cp: bool = False


class EVA02(_Known):
    """``mmdet.EVA02`` of this project."""

    image_size: Side = 224
    patch_size: Patch = 16
    width: Width = 768
    depth: Blocks = 12
    heads: Heads = 12
    hidden: Hidden = 2048
    trained_grid: int | None = Field(None, ge=1, le=1024)
    mlp_norm: bool = True
    attention_norm: bool = False
    pooled_norm: bool = False
    drop_path_rate: Rate = 0.0
    pooled: Pooled = "patches"


class _Transformers(_Known):
    """Base of the plain vision transformers of Hugging Face's transformers, with the arguments of their configuration.

    ``pooled`` and ``with_cp`` are ours (``models/transformers_nets.py``).
    """

    image_size: Side = 224
    patch_size: Patch = 16
    num_channels: Literal[3] = 3
    hidden_size: Width = 768
    num_hidden_layers: Blocks = 12
    num_attention_heads: Heads = 12
    hidden_act: Act = "gelu"
    layer_norm_eps: float = Field(1e-6, gt=0, le=1)
    with_cp: bool = False


class _WithClassToken(_Transformers):
    pooled: Pooled = "patches"


class TransformersViT(_WithClassToken):
    """ViT and MAE: ``ViTModel``."""

    intermediate_size: Hidden = 3072
    qkv_bias: bool = True
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0


class TransformersDINOv2(_WithClassToken):
    """DINOv2, RAD-DINO: ``Dinov2Model``."""

    patch_size: Patch = 14
    mlp_ratio: int = Field(4, ge=1, le=16)
    qkv_bias: bool = True
    layerscale_value: float = Field(1.0, ge=0, le=1)
    use_swiglu_ffn: bool = False
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0
    drop_path_rate: Rate = 0.0


class TransformersDINOv2WithRegisters(TransformersDINOv2):
    """DINOv2 with registers, CheXFound: ``Dinov2WithRegistersModel``."""

    num_register_tokens: Registers = 4


class TransformersDINOv3(_WithClassToken):
    """DINOv3: ``DINOv3ViTModel``; positions are rotary, so every image size is native."""

    intermediate_size: Hidden = 3072
    layer_norm_eps: float = Field(1e-5, gt=0, le=1)
    num_register_tokens: Registers = 4
    rope_theta: float = Field(100.0, gt=0, le=1e9)
    query_bias: bool = True
    key_bias: bool = False
    value_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    layerscale_value: float = Field(1.0, ge=0, le=1)
    use_gated_mlp: bool = False
    attention_dropout: Rate = 0.0
    drop_path_rate: Rate = 0.0


class TransformersSigLIP(_Transformers):
    """The image tower of SigLIP and MedSigLIP: ``SiglipVisionModel``, without the pooling head."""

    intermediate_size: Hidden = 3072
    hidden_act: Act = "gelu_pytorch_tanh"
    attention_dropout: Rate = 0.0


class TransformersCLIP(_WithClassToken):
    """The image tower of CLIP and OpenCLIP: ``CLIPVisionModel``; the last norm is applied to all tokens."""

    intermediate_size: Hidden = 3072
    layer_norm_eps: float = Field(1e-5, gt=0, le=1)
    attention_dropout: Rate = 0.0


class TransformersSwinV2(_Known):
    """Swin v2: ``Swinv2Model``."""

    image_size: Side = 256
    patch_size: Literal[4] = 4
    num_channels: Literal[3] = 3
    embed_dim: Width = 96
    depths: Depths = (2, 2, 6, 2)
    num_heads: HeadCounts = (3, 6, 12, 24)
    window_size: int = Field(8, ge=1, le=64)
    pretrained_window_sizes: Annotated[tuple[Annotated[int, Field(ge=0, le=64)], ...], Field(max_length=5)] = (
        0,
        0,
        0,
        0,
    )
    mlp_ratio: float = Field(4.0, gt=0, le=16)
    qkv_bias: bool = True
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0
    drop_path_rate: Rate = 0.1
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: float = Field(1e-5, gt=0, le=1)
    with_cp: bool = False


KNOWN: dict[str, type[BaseModel]] = {
    "mmdet.SwinTransformer": Swin,
    "mmdet.PublishedSwin": PublishedSwin,
    "mmseg.SwinTransformer": Swin,
    "mmdet.ConvNeXt": ConvNeXt,
    "mmdet.ResNet": ResNet,
    "mmdet.ResNetV1d": ResNet,
    "mmseg.ResNet": ResNet,
    "mmseg.ResNetV1c": ResNet,
    "mmseg.ResNetV1d": ResNet,
    "mmdet.ResNeXt": ResNeXt,
    "mmseg.ResNeXt": ResNeXt,
    "mmseg.VisionTransformer": ViT,
    "mmseg.MixVisionTransformer": MixViT,
    "mmdet.EVA02": EVA02,
    "transformers.ViTModel": TransformersViT,
    "transformers.Dinov2Model": TransformersDINOv2,
    "transformers.Dinov2WithRegistersModel": TransformersDINOv2WithRegisters,
    "transformers.DINOv3ViTModel": TransformersDINOv3,
    "transformers.SiglipVisionModel": TransformersSigLIP,
    "transformers.CLIPVisionModel": TransformersCLIP,
    "transformers.Swinv2Model": TransformersSwinV2,
}
"""Every backbone that is built from a file, with its arguments."""


def without_sources(value: Any) -> Any:
    """The description without ``init_cfg`` and ``pretrained``, at every depth."""
    if isinstance(value, dict):
        return {key: without_sources(item) for key, item in value.items() if key not in UNUSED}
    return [without_sources(item) for item in value] if isinstance(value, list | tuple) else value


def known_backbone(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The description of a backbone as it may be built, if it came out of somebody's file.

    Args:
        config: Description as the file gives it: ``type`` and arguments.
        where: File and key, for messages.

    Returns:
        The same without ``init_cfg`` and ``pretrained``: the weights are in the file.

    Raises:
        ConfigError: The backbone is not listed, or an argument is unknown, of another type or out of its range.
    """
    arguments = without_sources(config)
    kind = arguments.pop("type", None)
    fix = "build it from a configuration of your own, or, if you trust the file's source, pass --allow-code"
    if not isinstance(kind, str) or kind not in KNOWN:
        raise ConfigError(f"{where}.type", f"found {kind!r:.80}", nearest(str(kind)[:80], KNOWN), fix)
    try:  # as JSON: its lists are tuples, and strictly: nothing else is converted
        KNOWN[kind].model_validate_json(to_exact_json(arguments))
    except (ValidationError, ValueError, TypeError) as error:
        raise ConfigError(*_fault(error, kind, where), fix) from None
    return {"type": kind, **arguments}


def _fault(error: Exception, kind: str, where: str) -> tuple[str, str, str]:
    """Position, actual and expected value."""
    if not isinstance(error, ValidationError):
        return where, f"{error}", "plain values"
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{where}.{key}"[:200], f"found {first['input']!r:.80}", f"{kind}: {first['msg']}"
