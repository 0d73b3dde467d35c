"""Small networks of transformers with drawn weights, saved as the library saves them: what imports are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

_VIT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 64, "patch_size": 16}
_TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32, "vocab_size": 50}
_DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 1,
    "decoder_intermediate_size": 32,
}
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64]}


@dataclass(frozen=True)
class Network:
    """A class of transformers, arguments of its configuration, and how its feature is read."""

    model: str
    config: str
    kind: str
    arguments: dict[str, Any]
    prefix: int = 1  # tokens before those of the patches
    vision: str = ""  # the image tower, if the class has another
    sizes: tuple[int, ...] = (64, 96)
    call: dict[str, Any] = field(default_factory=dict)


_RESIZED = {"interpolate_pos_encoding": True}
NETWORKS = {
    "ViT": Network("ViTModel", "ViTConfig", "vit", _VIT | {"intermediate_size": 96}, call=_RESIZED),
    "ViT with a classifier": Network(
        "ViTForImageClassification", "ViTConfig", "vit", _VIT | {"intermediate_size": 96}, vision="vit", call=_RESIZED
    ),
    # without masks; patches come in a random order, which the mean does not see
    "MAE": Network(
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        "vit",
        _VIT | {"intermediate_size": 96, "mask_ratio": 0.0} | _DECODER,
        vision="vit",
        call=_RESIZED,
    ),
    "DINOv2": Network(
        "Dinov2Model", "Dinov2Config", "dinov2", _VIT | {"patch_size": 14, "image_size": 56}, sizes=(56, 84)
    ),
    "DINOv2 giant": Network("Dinov2Model", "Dinov2Config", "dinov2", _VIT | {"use_swiglu_ffn": True}),
    "DINOv2 with registers": Network(
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", "dinov2", _VIT | {"num_register_tokens": 3}, prefix=4
    ),
    "DINOv3 ViT": Network(
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        "dinov3",
        _VIT | {"intermediate_size": 96, "num_register_tokens": 4},
        prefix=5,
    ),
    "DINOv3 ViT H+": Network(
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        "dinov3",
        _VIT | {"intermediate_size": 96, "num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"},
        prefix=5,
    ),
    "DINOv3 ConvNeXt": Network("DINOv3ConvNextModel", "DINOv3ConvNextConfig", "convnext", _STAGES),
    "ConvNeXt": Network("ConvNextForImageClassification", "ConvNextConfig", "convnext", _STAGES, vision="convnext"),
    "ResNet": Network(
        "ResNetForImageClassification",
        "ResNetConfig",
        "resnet",
        {"depths": [3, 4, 6, 3], "hidden_sizes": [16, 32, 64, 128], "embedding_size": 4},
        vision="resnet",
    ),
    "Swin v2": Network(
        "Swinv2ForImageClassification",
        "Swinv2Config",
        "swinv2",
        {"embed_dim": 16, "depths": [2, 2, 2, 1], "num_heads": [1, 1, 2, 4], "window_size": 4, "image_size": 128},
        vision="swinv2",
        sizes=(128,),
    ),
    "SigLIP": Network(
        "SiglipModel",
        "SiglipConfig",
        "siglip",
        {"vision_config": _VIT | {"intermediate_size": 96}, "text_config": _TEXT},
        prefix=0,
        vision="vision_model",
        call=_RESIZED,
    ),
    "CLIP": Network(
        "CLIPModel",
        "CLIPConfig",
        "clip",
        {"vision_config": _VIT | {"intermediate_size": 96}, "text_config": _TEXT, "projection_dim": 16},
        vision="vision_model",
        call=_RESIZED,
    ),
}


def save_network(name, folder):
    """A network with drawn weights, written into a folder as the library does it."""
    import transformers

    network = NETWORKS[name]
    torch.manual_seed(0)
    model = getattr(transformers, network.model)(getattr(transformers, network.config)(**network.arguments)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms, scales and positions, too, which start as ones and zeros
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def reference(name, model, images):
    """The pooled feature by the library: the mean of the patch tokens, or the pooled output of networks with stages."""
    network = NETWORKS[name]
    tower = getattr(model, network.vision) if network.vision else model
    output = tower(images, **network.call)
    if network.kind in ("resnet", "convnext", "swinv2"):
        return output.pooler_output.flatten(1) if network.kind != "swinv2" else output.last_hidden_state.mean(1)
    tokens = output.last_hidden_state
    if network.kind == "clip":  # whose library norms the class token alone
        tokens = tower.post_layernorm(tokens)
    return tokens[:, network.prefix :].mean(1)
