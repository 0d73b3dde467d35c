# UniHead for every task of one cycle (ECCV 2022; docs/methods/unihead.md): Swin-B at 224 pixels and the cycle of
# Foundation X+. Labels on the last stage; boxes and outlines on one pyramid a task, which all datasets share.
_base_ = ["../foundation_x/foundation_x_plus.py"]

name = "unihead"
model = dict(
    region_gate=None,
    heads=dict(
        classification=dict(type="unihead"),
        detection=dict(type="unihead"),
        segmentation=dict(type="unihead"),
    ),
)
