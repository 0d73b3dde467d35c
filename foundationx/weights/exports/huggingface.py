"""The backbone for Hugging Face transformers: a folder for ``from_pretrained``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundationx.core.atomic_write import require_folder, write_atomically, write_json
from foundationx.core.config.run import RunConfig
from foundationx.weights.exports import _huggingface_transformers as own
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source
from foundationx.weights.safetensors_file import write_safetensors
from foundationx.weights.swin import PATCH_SIZE, SwinShape, swin_weights, to_hugging_face

CODE = Path(__file__).resolve().parents[1] / "hub_code"
"""Folder of code that exported folders hold."""

PROCESSOR, NETWORK = "image_processing_grey", "modeling_shifted_swin"

BOX = 4
"""Pillow's number of averaging over areas."""


def write_hugging_face(source: Source, path: Path) -> str:
    """Writes ``model.safetensors``, ``config.json``, ``preprocessor_config.json`` and code into the folder ``path``.

    ``AutoModel`` gives the features of this model. ``SwinModel`` follows the published rule of shifting
    (``models/swin.py``); for a network that always shifts the folder holds a model of its own, which ``AutoModel``
    opens only with ``trust_remote_code=True``: without it is refused, and ``SwinModel``, whose features would be
    others, is not taken silently. The weights hold the norm of every stage, too, for ``SwinBackbone``.

    A network of transformers is written as the library writes it (``_huggingface_transformers.py``).

    Raises:
        ConfigError: The backbone is neither a Swin nor a network of transformers, or the last map of a Swin is smaller
            than a window.
    """
    if own.is_of_transformers(source.config):
        return _write_own(source, path)
    tensors, shape = swin_weights(source.model, "huggingface", source.config.image_size)
    require_folder(path)
    write_safetensors(to_hugging_face(tensors), path / "model.safetensors", metadata=describe(source))
    always = shape.shift == "always"
    write_json(path / "config.json", _network(shape, source.config.image_size, always), indent=2)
    write_json(path / "preprocessor_config.json", _pixels(source.config), indent=2)
    for module in [PROCESSOR, *([NETWORK] if always else [])]:
        write_atomically(path / f"{module}.py", (CODE / f"{module}.py").read_text(encoding="utf-8"))
    trust = ", trust_remote_code=True" if always else ""
    return f"""import numpy
import torch
from transformers import AutoImageProcessor, AutoModel
prepare = AutoImageProcessor.from_pretrained({str(path)!r}, trust_remote_code=True)  # resizes as in training
net = AutoModel.from_pretrained({str(path)!r}{trust}).eval()
image = numpy.zeros((480, 400), numpy.uint8)  # grey, of any size, bones bright
with torch.no_grad():
    pooled = net(**prepare(image, return_tensors="pt")).pooler_output"""


def _write_own(source: Source, path: Path) -> str:
    """The folder of a network of transformers."""
    require_folder(path)
    tensors, network = own.network_of(source, path)
    write_safetensors(tensors, path / "model.safetensors", metadata=describe(source))
    write_json(path / "config.json", network, indent=2)
    size = own.network_size(source.model.backbone.net, source.config.image_size)
    pixels = _pixels(source.config) | ({"network_size": size} if size != source.config.image_size else {})
    write_json(path / "preprocessor_config.json", pixels, indent=2)
    write_atomically(path / f"{PROCESSOR}.py", (CODE / f"{PROCESSOR}.py").read_text(encoding="utf-8"))
    return own.lines(source, path)


def _network(shape: SwinShape, image_size: int, always: bool) -> dict[str, Any]:
    """``config.json``."""
    stages = len(shape.depths)
    code = {"AutoConfig": f"{NETWORK}.ShiftedSwinConfig", "AutoModel": f"{NETWORK}.ShiftedSwinModel"}
    return {
        "model_type": "shifted_swin" if always else "swin",
        "architectures": ["ShiftedSwinModel" if always else "SwinModel"],
        **({"auto_map": code} if always else {}),
        "image_size": image_size,
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


def _pixels(config: RunConfig) -> dict[str, Any]:
    """``preprocessor_config.json``: our own processor, and what comes nearest for those of transformers."""
    return {
        "image_processor_type": "GreyImageProcessor",
        "auto_map": {"AutoImageProcessor": f"{PROCESSOR}.GreyImageProcessor"},
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": config.image_size, "width": config.image_size},
        "resample": BOX,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.model.mean),
        "image_std": list(config.model.std),
    }


FORMAT = Format(write_hugging_face, "_huggingface", "Hugging Face transformers")
