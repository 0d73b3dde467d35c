"""Backbones of Hugging Face's transformers, under the names of its classes: ``transformers.Dinov2Model`` and others.

Arguments are those of the class's configuration (``Dinov2Config``), and ``pooled`` and ``with_cp`` of ours. Networks
are built from arguments alone: no file is opened and no address is asked.

transformers is an extra; this file is imported when a configuration names one of its networks.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from foundationx.core.config.backbones import KNOWN
from foundationx.core.errors import OF_THE_BASE, ConfigError, nearest
from foundationx.core.strict_json import to_exact_json
from foundationx.core.validation import validation_error
from foundationx.models.norms import ChannelNorm
from foundationx.models.plain_vit import PlainViT, Pooled

LIBRARY = "transformers"
"""First part of the type of these backbones."""

VITS: dict[str, str] = {
    "ViTModel": "ViTConfig",
    "Dinov2Model": "Dinov2Config",
    "Dinov2WithRegistersModel": "Dinov2WithRegistersConfig",
    "DINOv3ViTModel": "DINOv3ViTConfig",
    "SiglipVisionModel": "SiglipVisionConfig",
    "CLIPVisionModel": "CLIPVisionConfig",
}
"""Plain vision transformers: class of the network, class of its configuration."""

_FIXED: dict[str, dict[str, Any]] = {
    "SiglipVisionModel": {"vision_use_head": False},
    "DINOv3ViTModel": {"pos_embed_rescale": None},
}
"""Settings that are not the library's: heads that are not used are not built, positions are not scaled at random."""

_HAS_CLASS_TOKEN = {"SiglipVisionModel": 0}
_CHECKPOINTING = {"use_reentrant": False}


class TransformersViT(PlainViT):
    """A plain vision transformer of transformers with the maps of :class:`PlainViT`.

    Position embeddings are interpolated to the size of the images, as the library does it.

    Args:
        name: Class of the network, one of ``VITS``.
        pooled: What the mean over the coarsest map is.
        with_cp: Whether activations are computed again in the backward pass, which saves memory.
        arguments: Those of the configuration.
    """

    def __init__(self, name: str, *, pooled: Pooled = "patches", with_cp: bool = False, **arguments: Any):
        library = importlib.import_module(LIBRARY)
        config = getattr(library, VITS[name])(**_FIXED.get(name, {}) | arguments)
        prefix = _HAS_CLASS_TOKEN.get(name, 1) + getattr(config, "num_register_tokens", 0)
        super().__init__(config.hidden_size, config.patch_size, prefix, pooled)
        further = {"add_pooling_layer": False} if name == "ViTModel" else {}
        self.encoder: nn.Module = getattr(library, name)(config, **further)
        self.interpolate = {} if name.startswith("D") else {"interpolate_pos_encoding": True}
        if with_cp:
            self.encoder.activation_checkpointing_enable(_CHECKPOINTING)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to (B, prefix + N, C) tokens after the last norm."""
        tokens: Tensor = self.encoder(images, **self.interpolate).last_hidden_state
        if hasattr(self.encoder, "pre_layrnorm"):  # CLIP gives tokens before the last norm
            tokens = self.encoder.get_submodule("post_layernorm")(tokens)
        return tokens


class TransformersSwinV2(nn.Module):
    """Swin v2 (Liu et al. 2022, arXiv 2111.09883); strides 4, 8, 16, 32.

    Args:
        with_cp: Whether activations are computed again in the backward pass.
        arguments: Those of ``Swinv2Config``. Windows are those of images of ``image_size``: set it to the size of the
            run, and ``pretrained_window_sizes`` to the windows of the pretraining if these were smaller.
    """

    def __init__(self, *, with_cp: bool = False, **arguments: Any):
        super().__init__()
        library = importlib.import_module(LIBRARY)
        config = library.Swinv2Config(**arguments)
        self.encoder: nn.Module = library.Swinv2Model(config, add_pooling_layer=False)
        for stage in range(len(config.depths) - 1):
            self.add_module(f"norm{stage}", ChannelNorm(config.embed_dim * 2**stage))
        if with_cp:
            self.encoder.activation_checkpointing_enable(_CHECKPOINTING)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images to one normed map per stage, finest first."""
        embedded, grid = self.encoder.get_submodule("embeddings")(images)
        result = self.encoder.get_submodule("encoder")(
            embedded, grid, output_hidden_states=True, output_hidden_states_before_downsampling=True
        )
        *finer, last = result.reshaped_hidden_states[1:]
        maps = [self.get_submodule(f"norm{stage}")(tokens) for stage, tokens in enumerate(finer)]
        norm = self.encoder.get_submodule("layernorm")
        return (*maps, norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


NETWORKS: dict[str, type[BaseModel]] = {name: known for name, known in KNOWN.items() if name.startswith(f"{LIBRARY}.")}
"""Arguments of every network of transformers that can be a backbone, by its ``type``."""


def build(config: Mapping[str, Any]) -> nn.Module:
    """Builds a network.

    Args:
        config: ``type`` (``transformers.Dinov2Model`` ...) and its arguments.

    Raises:
        ConfigError: transformers is not installed, or the network or one of its arguments is unknown or wrong.
    """
    kind, arguments = str(config["type"]), {name: value for name, value in config.items() if name != "type"}
    if kind not in NETWORKS:
        raise ConfigError("type", f"found {kind!r}", nearest(kind, NETWORKS), "correct the name")
    try:
        checked = NETWORKS[kind].model_validate_json(to_exact_json(arguments))
    except ValidationError as error:
        raise validation_error(error, NETWORKS[kind], kind, ConfigError, "model.backbone") from None
    try:
        importlib.import_module(LIBRARY)
    except ImportError as error:
        found, expected = f"transformers cannot be imported ({error})", "transformers from 5.24 on"
        fix = "in the clone: pip install -c requirements/constraints.txt -e '.[backbones]'"
        raise ConfigError(kind, found, expected, fix) from error
    name = kind.removeprefix(f"{LIBRARY}.")
    try:
        return TransformersViT(name, **dict(checked)) if name in VITS else TransformersSwinV2(**dict(checked))
    except Exception as error:  # the library refuses values that do not fit each other in many ways
        found, fix = f"{type(error).__name__}: {error}", f"correct the arguments; {OF_THE_BASE}"
        raise ConfigError(f"arguments of {kind}", found, "arguments that it takes", fix) from error
