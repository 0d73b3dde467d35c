#!/usr/bin/env python
"""Writes tests/weights/backbone_references.json: features of published backbones by timm, at small size.

timm reads files under the authors' names by filters of its own and is the second source that imports of such files are
held against (``tests/weights/test_import_families.py``). It needs torchvision, which beside CPU builds of torch is not
on PyPI: run this where both are installed. The weights are drawn from names and shapes (``tests/helpers``), so that
only features are stored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import timm
import torch
from timm.models import convnext, eva, resnet, swin_transformer_v2, vision_transformer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.published_names import DEPTH, FILES, HIDDEN, WIDTH, drawn, images  # noqa: E402

OUT = ROOT / "tests/weights/backbone_references.json"
SMALL = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": 1, "num_classes": 0}
VIT = SMALL | {"mlp_ratio": HIDDEN / WIDTH}


def eva02(mim: bool = False, **further):
    """EVA-02 of timm, with the norm of every token."""
    return eva.Eva(
        img_size=64,
        patch_size=16,
        **VIT,
        swiglu_mlp=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(14, 14),
        global_pool="avg" if mim else "token",
        **further,
    )


def dinov3(**further):
    """DINOv3 of timm."""
    return eva.Eva(
        img_size=64,
        patch_size=16,
        dynamic_img_size=True,
        **VIT,
        qkv_bias=True,
        init_values=1.0,
        rope_type="dinov3",
        rope_temperature=100,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        rope_rotate_half=True,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=lambda *args, **kw: torch.nn.LayerNorm(*args, eps=1e-5, **kw),
        **further,
    )


def dinov2(size: int, patch: int, registers: int = 0, **further):
    """DINOv2 of timm."""
    own = {"reg_tokens": registers, "no_embed_class": bool(registers), "init_values": 1.0}
    ratio = {"mlp_ratio": further.pop("mlp_ratio", 4)}
    return vision_transformer.VisionTransformer(img_size=size, patch_size=patch, **SMALL, **ratio, **own, **further)


MODELS = {
    "ViT": lambda: vision_transformer.VisionTransformer(img_size=64, **VIT),
    "MAE": lambda: vision_transformer.VisionTransformer(img_size=64, **VIT),
    "DINOv2": lambda: dinov2(56, 14),
    "DINOv2 with registers": lambda: dinov2(56, 14, 4),
    "DINOv2 giant": lambda: dinov2(
        56,
        14,
        mlp_ratio=2 * ((int(4 * WIDTH * 2 / 3) + 7) // 8 * 8) / WIDTH,
        act_layer=torch.nn.SiLU,
        mlp_layer=timm.layers.SwiGLUPacked,
    ),
    "CheXFound": lambda: dinov2(64, 16, 4),
    "DINOv3 ViT": dinov3,
    "DINOv3 ViT H+": lambda: dinov3(swiglu_mlp=True, swiglu_align_to=8),
    "DINOv3 ConvNeXt": lambda: convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64), num_classes=0),
    "ConvNeXt": lambda: convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64), num_classes=0),
    "ResNet": lambda: resnet.ResNet(resnet.BasicBlock, (2, 2, 2, 2), num_classes=0),
    "Swin v2": lambda: swin_transformer_v2.SwinTransformerV2(
        img_size=128, window_size=4, embed_dim=16, depths=(2, 2, 2, 1), num_heads=(1, 1, 2, 4), num_classes=0
    ),
    "EVA-02 S": lambda: eva02(),
    "EVA-02 B": lambda: eva02(qkv_fused=False, scale_mlp=True),
    "EVA-X": lambda: eva02(qkv_fused=False, scale_mlp=True),
    "SigLIP": lambda: vision_transformer.VisionTransformer(
        img_size=64, class_token=False, global_pool="map", act_layer="gelu_tanh", **VIT
    ),
    "OpenCLIP": lambda: vision_transformer.VisionTransformer(
        img_size=64, pre_norm=True, norm_layer=torch.nn.LayerNorm, **VIT
    ),
}


def published(name: str) -> dict[str, torch.Tensor]:
    """The file as timm's filters take it: training's own prefixes and chunks are undone."""
    import re

    tensors = drawn(FILES[name][0])
    if name == "CheXFound":
        inside = {key.removeprefix("backbone."): v for key, v in tensors.items() if key.startswith("backbone.")}
        return {re.sub(r"^blocks\.\d+\.(\d+)", r"blocks.\1", key): value for key, value in inside.items()}
    if name == "EVA-02 S":  # timm has both halves of SwiGLU in one layer there
        for block in range(DEPTH):
            for kind in ("weight", "bias"):
                halves = [tensors.pop(f"blocks.{block}.mlp.{part}.{kind}") for part in ("w1", "w2")]
                tensors[f"blocks.{block}.mlp.w12.{kind}"] = torch.cat(halves)
    if name == "EVA-X":  # kept as the norm of every token: the pretraining's
        return {key: value for key, value in tensors.items() if key != "mask_token" and not key.startswith("lm_head")}
    return {key: value for key, value in tensors.items() if not key.startswith("decoder")}


def features(name: str) -> list[list[float]]:
    """Mean feature of the last map, or of the patches' tokens."""
    model, tensors = MODELS[name]().eval(), published(name)
    if name == "MAE":
        del tensors["mask_token"]
    module = sys.modules[type(model).__module__]
    filtered = getattr(module, "checkpoint_filter_fn", lambda state, model: state)(tensors, model)
    missing, unexpected = model.load_state_dict(filtered, strict=False)
    assert not missing, (name, missing)
    assert all(key.startswith(("head", "fc", "projectors")) for key in unexpected), (name, unexpected)
    with torch.no_grad():
        tokens = model.forward_features(images(FILES[name][1]))
    if isinstance(model, convnext.ConvNeXt):
        return model.head.norm(tokens.mean((2, 3), keepdim=True)).flatten(1).tolist()
    if tokens.ndim == 4:
        return tokens.mean((1, 2) if isinstance(model, swin_transformer_v2.SwinTransformerV2) else (2, 3)).tolist()
    return tokens[:, model.num_prefix_tokens :].mean(1).tolist()


def main() -> None:
    """Writes the file."""
    content = {"timm": timm.__version__, "features": {name: features(name) for name in FILES}}
    OUT.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)}: {len(FILES)} backbones")


if __name__ == "__main__":
    main()
