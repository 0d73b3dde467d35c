"""The smallest backbone and detection trunk that tests of the whole network use."""

BACKBONE = {
    "type": "mmdet.SwinTransformer",
    "embed_dims": 8,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 1, 2, 2),
    "window_size": 4,
    "drop_path_rate": 0.0,
    "out_indices": (0, 1, 2, 3),
}
DETECTION = {"embed_dims": 16, "num_heads": 2, "ffn_dims": 16, "encoder_layers": 1, "decoder_layers": 2, "queries": 8}
_POINTS = {"channels": 16, "attention_heads": 2, "class_hidden": 16}
_REGIONS = _POINTS | {"place_hidden": 16, "candidates": 64, "proposals": 40, "sampled": 200}
UNIHEAD = {
    "classification": {"type": "unihead", "options": _POINTS},
    "detection": {"type": "unihead", "options": _REGIONS},
    "segmentation": {"type": "unihead", "options": _REGIONS | {"outline_points": 12, "outline_hidden": 16}},
    "keypoints": {"type": "unihead", "options": {"channels": 16, "attention_heads": 2, "place_hidden": 16}},
}
_ONE_STAGE = {key: value for key, value in _REGIONS.items() if key not in ("candidates", "proposals", "sampled")}
ONE_STAGE = UNIHEAD | {"detection": {"type": "unihead_one_stage", "options": _ONE_STAGE}}
