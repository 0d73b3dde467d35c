"""The backbone for Hugging Face transformers: a folder for ``from_pretrained``."""

from __future__ import annotations

from pathlib import Path

from foundationx.core.atomic_write import require_folder, write_json
from foundationx.core.config.run import RunConfig
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format
from foundationx.weights.safetensors_file import write_safetensors
from foundationx.weights.swin import PATCH_SIZE, swin_weights, to_hugging_face


def write_hugging_face(model: FoundationModel, config: RunConfig, which: str, path: Path) -> str:
    """Writes ``model.safetensors``, ``config.json`` and ``preprocessor_config.json`` into the folder ``path``.

    The weights hold both the pooled model's last norm (``SwinModel``) and the norm of every stage (``SwinBackbone``);
    each class reports the other norm as unused. ``SwinBackbone`` always shifts, as mmdet does; ``SwinModel`` follows
    the published rule (``models/swin.py``). The configuration names the class that gives the features of this model.

    Raises:
        ConfigError: The backbone is no Swin, or its last map is smaller than a window.
    """
    tensors, shape = swin_weights(model, "huggingface", config.image_size)
    require_folder(path)
    write_safetensors(to_hugging_face(tensors), path / "model.safetensors", metadata=describe(model, config, which))
    name = "SwinBackbone" if shape.shift == "always" else "SwinModel"
    stages = len(shape.depths)
    network = {
        "model_type": "swin",
        "architectures": [name],
        "image_size": config.image_size,
        "patch_size": PATCH_SIZE,
        "num_channels": 3,
        "embed_dim": shape.embed_dims,
        "depths": list(shape.depths),
        "num_heads": list(shape.num_heads),
        "window_size": shape.window_size,
        "mlp_ratio": float(shape.mlp_ratio),
        "qkv_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": shape.eps,
        "hidden_size": shape.embed_dims * 2 ** (stages - 1),
        "num_layers": stages,
        "use_absolute_embeddings": False,
        "out_features": [f"stage{i + 1}" for i in range(stages)],
    }
    pixels = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": config.image_size, "width": config.image_size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.model.mean),
        "image_std": list(config.model.std),
    }
    for file, content in (("config.json", network), ("preprocessor_config.json", pixels)):
        write_json(path / file, content, indent=2)
    return f"from transformers import {name}\nnet = {name}.from_pretrained({str(path)!r})"


FORMAT = Format(write_hugging_face, "_huggingface", "Hugging Face transformers")
