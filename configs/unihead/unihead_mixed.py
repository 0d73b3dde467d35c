# UniHead beside other heads in one cycle (docs/methods/unihead.md): UniHead for labels and boxes, which guide UPerNet's
# masks as in Foundation X+.
_base_ = ["../foundation_x/foundation_x_plus.py"]

name = "unihead_mixed"
model = dict(
    heads=dict(
        classification=dict(type="unihead"),
        detection=dict(type="unihead"),
    ),
)
