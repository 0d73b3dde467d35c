"""Published plain vision transformers: ViT and MAE, DINOv2, DINOv3, SigLIP, CLIP and EVA-02, each with its relatives.

Names are those of the authors' code, of timm if weights are published there, and of Hugging Face's transformers (those
of the published files, which its version 4 has in memory as well, and those that version 5 has in memory).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from foundationx.models.plain_vit import ROTARY_BASE
from foundationx.weights.imports.family import Family, Stated, blocks

HEAD_WIDTH = 64
"""Channels per attention head of published ViTs up to size L; no shape reveals the number of heads."""

HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16, 4096: 32}
"""Attention heads of larger ones, by width: SigLIP So400m, ViT-H, EVA-g, OpenCLIP G, DINOv3 7B."""

LAYERS = r"encoder\.encoder\.layers?\.(\d+)\."
"""Our names of blocks in most families."""

_CLASSIFIER = (
    (r"(fc|head|classifier|head_drop)\.(?!norm\.).*", "the classifier or projection head, unused"),
    (r"(pooler|pre_logits)\..*", "pooling of the class token, unused"),
)
_MASK_TOKEN = (r"(embeddings\.)?mask_token", "token of the pretraining, unused")
_PYRAMID = (r"pyramid\..*", "feature pyramid, which the published network does not have: initialised at random")
CLIP_NORMALISATION = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5,) * 3, (0.5,) * 3)


def heads_of(width: int, stated: Stated, table: Mapping[int, int] = HEADS) -> int:
    """Attention heads: as stated, else those of the published networks of this width. Raises ValueError."""
    if "num_attention_heads" in stated:
        return int(stated["num_attention_heads"])
    if width not in table and width % HEAD_WIDTH:
        raise ValueError(f"{width} channels, which no published network has")
    return table.get(width, width // HEAD_WIDTH)


def _side(positions: int) -> int:
    side = math.isqrt(positions)
    if side * side != positions:
        raise ValueError(f"{positions} positions, which are no square")
    return side


def _common(patches: Tensor, positions: int | None, depth: int, stated: Stated) -> dict[str, Any]:
    """Arguments that all networks of transformers have."""
    width, _, patch, _ = patches.shape
    if depth < 1:
        raise ValueError("no blocks")
    size = int(stated.get("image_size", 224)) if positions is None else _side(positions) * patch
    return {
        "image_size": size,
        "patch_size": patch,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads_of(width, stated),
    }


def _measure_vit(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    patches = tensors["encoder.embeddings.patch_embeddings.projection.weight"]
    positions = tensors["encoder.embeddings.position_embeddings"].shape[1] - 1
    depth = blocks(tensors, r"encoder\.layers\.(\d+)\.layernorm_before\.weight")
    common = _common(patches, positions, depth, stated)
    eps = 1e-6 if "blocks.0.norm1.weight" in raw else 1e-12  # as the authors and as transformers
    return {
        "type": "transformers.ViTModel",
        **common,
        "intermediate_size": tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "qkv_bias": "encoder.layers.0.attention.q_proj.bias" in tensors,
        "layer_norm_eps": float(stated.get("layer_norm_eps", eps)),
    }


def _measure_dinov2(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    patches = tensors["encoder.embeddings.patch_embeddings.projection.weight"]
    positions = tensors["encoder.embeddings.position_embeddings"].shape[1] - 1
    common = _common(patches, positions, blocks(tensors, LAYERS + r"norm1\.weight"), stated)
    gated = "encoder.encoder.layer.0.mlp.gate_proj.weight" in tensors
    registers = tensors.get("encoder.embeddings.register_tokens")
    further = {} if registers is None else {"num_register_tokens": registers.shape[1]}
    hidden = 4 * patches.shape[0] if gated else tensors["encoder.encoder.layer.0.mlp.fc1.weight"].shape[0]
    return {
        "type": "transformers.Dinov2Model" if registers is None else "transformers.Dinov2WithRegistersModel",
        **common,
        "mlp_ratio": hidden // patches.shape[0],
        "use_swiglu_ffn": gated,
        "qkv_bias": "encoder.encoder.layer.0.attention.q_proj.bias" in tensors,
        "layer_norm_eps": float(stated.get("layer_norm_eps", 1e-6)),
        **further,
    }


def _finish_dinov2(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """The mask token of DINOv2 is (1, C) there and here, and early files lack it."""
    patches = ours.get("encoder.embeddings.patch_embeddings.projection.weight")
    if patches is not None and "encoder.embeddings.mask_token" not in ours:
        ours["encoder.embeddings.mask_token"] = patches.new_zeros(1, patches.shape[0])


def _measure_dinov3(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    patches, first = tensors["encoder.embeddings.patch_embeddings.weight"], "encoder.model.layer.0"
    depth = blocks(tensors, r"encoder\.model\.layer\.(\d+)\.norm1\.weight")
    common = _common(patches, None, depth, stated)
    width, gated = patches.shape[0], f"{first}.mlp.gate_proj.weight" in tensors
    if width == 1280 and "num_attention_heads" not in stated:
        common["num_attention_heads"] = 20  # DINOv3's H+
    return {
        "type": "transformers.DINOv3ViTModel",
        **common,
        "intermediate_size": tensors[f"{first}.mlp.up_proj.weight"].shape[0],
        "use_gated_mlp": gated,
        "hidden_act": stated.get("hidden_act", "silu" if gated else "gelu"),
        "num_register_tokens": tensors["encoder.embeddings.register_tokens"].shape[1],
        "query_bias": f"{first}.attention.q_proj.bias" in tensors,
        "key_bias": f"{first}.attention.k_proj.bias" in tensors,
        "value_bias": f"{first}.attention.v_proj.bias" in tensors,
        "rope_theta": float(stated.get("rope_theta", 100.0)),
        "layer_norm_eps": float(stated.get("layer_norm_eps", 1e-5)),
    }


def _finish_dinov3(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """Biases of keys, which DINOv3 masks with zeros, are left out; the mask token has an axis more here."""
    if (token := ours.get("encoder.embeddings.mask_token")) is not None and token.ndim == 2:
        ours["encoder.embeddings.mask_token"] = token[None]
    for name in [name for name in ours if name.endswith("attention.k_proj.bias")]:
        block = name.removeprefix("encoder.model.layer.").split(".")[0]
        mask = raw.get(f"blocks.{block}.attn.qkv.bias_mask")
        if mask is not None and bool(mask.chunk(3)[1].any()):
            raise ValueError(f"blocks.{block}.attn.qkv.bias_mask keeps the biases of keys")
        if mask is not None or not bool(ours[name].any()):
            del ours[name]
    fused = "{q_proj,k_proj,v_proj}"
    for name, here in loaded.items():
        if here.endswith(f"{fused}.bias") and here.replace(fused, "k_proj") not in ours:
            loaded[name] = here.replace(",k_proj", "")


def _measure_siglip(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    patches = tensors["encoder.embeddings.patch_embedding.weight"]
    positions = tensors["encoder.embeddings.position_embedding.weight"].shape[0]
    common = _common(patches, positions, blocks(tensors, LAYERS + r"layer_norm1\.weight"), stated)
    return {
        "type": "transformers.SiglipVisionModel",
        **common,
        "intermediate_size": tensors["encoder.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "hidden_act": stated.get("hidden_act", "gelu_pytorch_tanh"),
        "layer_norm_eps": float(stated.get("layer_norm_eps", 1e-6)),
    }


def _measure_clip(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    patches = tensors["encoder.embeddings.patch_embedding.weight"]
    positions = tensors["encoder.embeddings.position_embedding.weight"].shape[0] - 1
    common = _common(patches, positions, blocks(tensors, LAYERS + r"layer_norm1\.weight"), stated)
    openai = (
        "embeddings.class_embedding" in raw or "input_resolution" in raw
    )  # in its own files, and as transformers' default
    published = "quick_gelu" if openai else "gelu"
    return {
        "type": "transformers.CLIPVisionModel",
        **common,
        "intermediate_size": tensors["encoder.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "hidden_act": stated.get("hidden_act", published),
        "layer_norm_eps": float(stated.get("layer_norm_eps", 1e-5)),
    }


def _one_row(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """timm's table of positions has a first axis of one row more."""
    name = "encoder.embeddings.position_embedding.weight"
    if name in ours and ours[name].ndim == 3:
        ours[name] = ours[name][0]


def _measure_eva02(tensors: Mapping[str, Tensor], raw: Mapping[str, Tensor], stated: Stated) -> dict[str, Any]:
    width, _, patch, _ = tensors["patch_embed.weight"].shape
    side = _side(tensors["pos_embed"].shape[1] - 1)
    heads = heads_of(width, stated)
    return {
        "type": "mmdet.EVA02",
        "image_size": side * patch,
        "patch_size": patch,
        "width": width,
        "depth": blocks(tensors, r"blocks\.(\d+)\.norm1\.weight"),
        "heads": heads,
        "hidden": tensors["blocks.0.mlp.gate.weight"].shape[0],
        "trained_grid": _trained_grid(raw, width // heads) or max(1, 224 // patch),
        "mlp_norm": "blocks.0.mlp.norm.weight" in tensors,
        "attention_norm": "blocks.0.attn.norm.weight" in tensors,
        "pooled_norm": "norm.weight" not in raw,
    }


def _trained_grid(raw: Mapping[str, Tensor], head_width: int) -> int | None:
    """Patches per side in pretraining, from the stored cosines: the angle by which the second column turns.

    That of a slow pair of channels: a turn of a fast one may be more than half a circle.
    """
    cosines = raw.get("rope.freqs_cos")
    if cosines is None or cosines.is_meta or cosines.shape[-1] != head_width or cosines.shape[0] < 4:
        return None
    grid = _side(cosines.shape[0])
    pair = head_width // 16
    angle = math.acos(max(-1.0, min(1.0, float(cosines[1, head_width // 2 + 2 * pair]))))
    return round(angle * ROTARY_BASE ** (4 * pair / head_width) * grid)


def _finish_eva02(ours: dict[str, Tensor], loaded: dict[str, str], raw: Mapping[str, Tensor]) -> None:
    """Keys have no bias; where a file stores one, it is a buffer of zeros."""
    for name in [name for name in ours if name.endswith(".k_proj.bias")]:
        if bool(ours[name].any()):
            raise ValueError(f"{name}: a bias of keys, which EVA-02 does not have")
        del ours[name]


_HUGGING_FACE_BLOCK = (
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(?<!attention)\.output\.dense\.", ".mlp.fc2."),
)
"""From the names in published files to those of version 5."""

VIT = Family(
    "ViT",
    (
        (r"blocks\.0\.attn\.qkv\.weight", r"patch_embed\.proj\.weight"),
        (r"encoder\.layer\.0\.attention\.attention\.query\.weight", r"encoder\.layer\.0\.layernorm_before\.weight"),
        (r"layers\.0\.attention\.q_proj\.weight", r"layers\.0\.layernorm_before\.weight"),
    ),
    (
        *_CLASSIFIER,
        _MASK_TOKEN,
        (r"decoder_?(embed|blocks|norm|pred|pos_embed|mask_token)?\b.*", "decoder of the pretraining, unused"),
    ),
    (
        (r"^encoder\.layer\.", "layers."),
        *_HUGGING_FACE_BLOCK,
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^blocks\.", "layers."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.qkv\.", ".attention.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"^norm\.", "layernorm."),
        (r"^", "encoder."),
    ),
    _measure_vit,
    (_PYRAMID,),
)

DINOV2 = Family(
    "DINOv2",
    (
        (r"blocks\.(\d+\.)?0\.ls1\.gamma", r"blocks\.(\d+\.)?0\.ls2\.gamma", r"pos_embed"),
        (r"encoder\.layer\.0\.layer_scale1\.lambda1", r"embeddings\.position_embeddings"),
    ),
    _CLASSIFIER,
    (
        *_HUGGING_FACE_BLOCK,
        (r"\.mlp\.weights_in\.", ".mlp.{gate_proj,up_proj}."),
        (r"\.mlp\.weights_out\.", ".mlp.down_proj."),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
        (r"^reg_token$", "embeddings.register_tokens"),  # timm's
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^blocks\.(?:\d+\.)?(\d+)\.(?=[a-z])", r"encoder.layer.\1."),  # training stores blocks in chunks
        (r"\.attn\.qkv\.", ".attention.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.w12\.", ".mlp.{gate_proj,up_proj}."),
        (r"\.mlp\.w3\.", ".mlp.down_proj."),
        (r"^norm\.", "layernorm."),
        (r"^", "encoder."),
    ),
    _measure_dinov2,
    (_PYRAMID, (r"encoder\.embeddings\.mask_token", "token of the pretraining, which this file lacks: zeros")),
    finish=_finish_dinov2,
)

DINOV3 = Family(
    "DINOv3",
    (
        (r"blocks\.0\.ls1\.gamma", r"storage_tokens|rope_embed\.periods", r"!pos_embed"),
        (r"(model\.)?layer\.0\.layer_scale1\.lambda1", r"embeddings\.patch_embeddings\.weight"),
    ),
    (
        *_CLASSIFIER,
        (r"rope_embed\.periods|rope_embeddings\..*", "follows from the width of a head, recomputed"),
        (r"blocks\.\d+\.attn\.qkv\.bias_mask", "says that keys have no bias, as here"),
        (r"local_cls_norm\..*", "norm of small crops in the pretraining, unused"),
    ),
    (
        (r"^layer\.", "model.layer."),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"^storage_tokens$", "embeddings.register_tokens"),
        (r"^(cls_token|mask_token)$", r"embeddings.\1"),
        (r"^blocks\.", "model.layer."),
        (r"\.attn\.qkv\.", ".attention.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.(fc1|w2)\.", ".mlp.up_proj."),
        (r"\.mlp\.(fc2|w3)\.", ".mlp.down_proj."),
        (r"\.mlp\.w1\.", ".mlp.gate_proj."),
        (r"^", "encoder."),
    ),
    _measure_dinov3,
    (_PYRAMID,),
    finish=_finish_dinov3,
)

SIGLIP = Family(
    "SigLIP",
    (
        (r"encoder\.layers\.0\.self_attn\.q_proj\.weight", r"!embeddings\.class_embedding"),
        (r"attn_pool\.latent", r"blocks\.0\.attn\.qkv\.weight"),
    ),
    (
        (r"head\..*|attn_pool\..*", "attention pooling, unused: the feature is the mean of the patch tokens"),
        (r"embeddings\.position_ids", "numbers of positions"),
    ),
    (
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^blocks\.", "encoder.layers."),
        (r"\.norm([12])\.", r".layer_norm\1."),
        (r"\.attn\.qkv\.", ".self_attn.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.proj\.", ".self_attn.out_proj."),
        (r"^norm\.", "post_layernorm."),
        (r"^", "encoder."),
    ),
    _measure_siglip,
    (_PYRAMID,),
    finish=_one_row,
    normalisation=_HALF,
)

CLIP = Family(
    "CLIP",
    (
        (r"encoder\.layers\.0\.self_attn\.q_proj\.weight", r"embeddings\.class_embedding"),
        (r"transformer\.resblocks\.0\.attn\.in_proj_weight", r"class_embedding", r"ln_post\.weight"),
    ),
    (
        (r"proj|visual_projection\.weight", "projection to the space of texts, unused"),
        (r"embeddings\.position_ids", "numbers of positions"),
    ),
    (
        (r"^conv1\.", "embeddings.patch_embedding."),
        (r"^class_embedding$", "embeddings.class_embedding"),
        (r"^positional_embedding$", "embeddings.position_embedding.weight"),
        (r"^ln_pre\.", "pre_layrnorm."),
        (r"^ln_post\.", "post_layernorm."),
        (r"^transformer\.resblocks\.", "encoder.layers."),
        (r"\.ln_([12])\.", r".layer_norm\1."),
        (r"\.attn\.in_proj_", ".self_attn.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"^", "encoder."),
    ),
    _measure_clip,
    (_PYRAMID,),
    normalisation=CLIP_NORMALISATION,
)

EVA02 = Family(
    "EVA-02",
    ((r"blocks\.0\.(attn\.(q_bias|q_proj\.weight)|mlp\.(w1|fc1_g)\.weight)", r"pos_embed"),),
    (
        *_CLASSIFIER,
        (r"(mask_token|lm_head\..*)", "head of the pretraining, unused"),
        (r"(blocks\.\d+\.attn\.)?rope\..*", "rotary positions, which follow from grid and width, recomputed"),
        (r"blocks\.\d+\.attn\.k_bias", "zeros: keys have no bias"),
    ),
    (
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"\.attn\.q_bias$", ".attn.q_proj.bias"),
        (r"\.attn\.v_bias$", ".attn.v_proj.bias"),
        (r"\.attn\.qkv\.", ".attn.{q_proj,k_proj,v_proj}."),
        (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
        (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
        (r"\.mlp\.(w12|fc1)\.", ".mlp.{gate,value}."),
        (r"\.mlp\.(w1|fc1_g)\.", ".mlp.gate."),
        (r"\.mlp\.(w2|fc1_x)\.", ".mlp.value."),
        (r"\.mlp\.(w3|fc2)\.", ".mlp.out."),
        (r"^fc_norm\.", "norm."),
    ),
    _measure_eva02,
    (_PYRAMID,),
    finish=_finish_eva02,
)
