"""The smallest backbone of every family that a configuration can name."""

_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64}
_MLP = _VIT | {"intermediate_size": 24}
_SWIN = {"embed_dims": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2, "drop_path_rate": 0.0}

BACKBONES = {
    "Swin": {"type": "mmdet.PublishedSwin", "out_indices": [0, 1, 2, 3]} | _SWIN,
    "Swin v2": {
        "type": "transformers.Swinv2Model",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 2,
        "image_size": 64,
        "drop_path_rate": 0.0,
    },
    "ConvNeXt": {"type": "mmdet.ConvNeXt", "depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16], "layer_scale": 1.0},
    "ResNet": {"type": "mmdet.ResNet", "depth": 18, "base_channels": 8, "norm_eval": False},
    "ViT": {"type": "transformers.ViTModel"} | _MLP,
    "MAE": {"type": "transformers.ViTModel", "patch_size": 32} | _MLP,
    "DINOv2": {"type": "transformers.Dinov2Model", "patch_size": 14} | _VIT,
    "RAD-DINO": {"type": "transformers.Dinov2Model", "patch_size": 14, "pooled": "class"} | _VIT,
    "CheXFound": {"type": "transformers.Dinov2WithRegistersModel", "patch_size": 16, "num_register_tokens": 4} | _VIT,
    "DINOv3 ViT": {"type": "transformers.DINOv3ViTModel", "with_cp": True} | _MLP,
    "DINOv3 ConvNeXt": {"type": "mmdet.ConvNeXt", "depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16], "pooled_norm": True},
    "EVA-02": {"type": "mmdet.EVA02", "image_size": 64, "width": 16, "depth": 2, "heads": 2, "hidden": 24},
    "EVA-X": {
        "type": "mmdet.EVA02",
        "image_size": 64,
        "width": 16,
        "depth": 2,
        "heads": 2,
        "hidden": 24,
        "mlp_norm": False,
        "pooled_norm": True,
        "drop_path_rate": 0.1,
    },
    "SigLIP": {"type": "transformers.SiglipVisionModel"} | _MLP,
    "OpenCLIP": {"type": "transformers.CLIPVisionModel"} | _MLP,
}
