# The smallest run that does everything, with UniHead for every task.
_base_ = ["./tiny_config.py"]

name = "tiny_unihead"
_points = dict(channels=16, attention_heads=2, class_hidden=16)
_regions = dict(place_hidden=16, candidates=64, proposals=10, sampled=32, **_points)
datasets = [dict(card=name) for name in ("phantom_labels", "phantom_boxes", "phantom_masks", "phantom_points")]
model = dict(
    heads=dict(
        classification=dict(type="unihead", options=_points),
        detection=dict(type="unihead", options=_regions),
        segmentation=dict(type="unihead", options=dict(outline_points=12, outline_hidden=16, **_regions)),
        keypoints=dict(type="unihead", options=dict(channels=16, attention_heads=2, place_hidden=16)),
    ),
)
