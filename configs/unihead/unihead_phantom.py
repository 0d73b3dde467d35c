# The demo with UniHead for labels, boxes and masks, small enough for two CPU cores (docs/methods/unihead.md).
_base_ = ["../quickstart/phantom.py"]

name = "unihead_phantom"
_small = dict(channels=64, attention_heads=4, class_hidden=128)
_regions = dict(place_hidden=128, candidates=200, proposals=60, sampled=64, **_small)
model = dict(
    heads=dict(
        classification=dict(type="unihead", options=_small),
        detection=dict(type="unihead", options=_regions),
        segmentation=dict(type="unihead", options=dict(outline_hidden=256, **_regions)),
    ),
)
