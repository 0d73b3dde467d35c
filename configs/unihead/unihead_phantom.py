# The demo with UniHead for labels, boxes, masks and landmarks, for two CPU cores (docs/methods/unihead.md).
_base_ = ["../quickstart/phantom.py"]

name = "unihead_phantom"
datasets = [
    dict(card="phantom_labels"),
    dict(card="phantom_boxes"),
    dict(card="phantom_masks"),
    dict(card="phantom_points"),
]
_mild = dict(geometry=dict(rotate=3, scale=0.05, shift=0.03), photometry=dict(brightness=0.1, contrast=0.1))
views = dict(keypoints=dict(teacher="clean", **_mild))
# a quarter of the published width, half of its points, fewer blocks, and no dropout
_small = dict(channels=64, attention_heads=4, dropout=0.0)
_regions = dict(
    points=8,
    class_blocks=1,
    class_hidden=128,
    place_blocks=2,
    place_hidden=128,
    candidates=200,
    proposals=40,
    sampled=32,
)
_outlines = dict(outline_points=24, outline_blocks=2, outline_hidden=256, outlines=10)
model = dict(
    heads=dict(
        classification=dict(_delete_=True, type="unihead", options=dict(class_hidden=128, **_small)),
        detection=dict(type="unihead", options=dict(**_regions, **_small)),
        segmentation=dict(type="unihead", options=dict(**_outlines, **_regions, **_small)),
        keypoints=dict(type="unihead", options=dict(place_hidden=256, **_small)),
    ),
)
schedule = dict(release=dict(classification=5.4, detection=3.4, segmentation=3.0, keypoints=5.0))
