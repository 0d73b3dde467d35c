# Lamps: beyond the border, order, hierarchy, consistency, one a batch in turn. In a short run the order of blocks,
# which is what tells places apart, needs its full weight.
_base_ = ["../_base_/selfsup_nano.py"]

name = "lamps_nano"
model = dict(
    objective=dict(
        type="lamps",
        cells=4,
        shift=2,
        window=3,
        depth=2,
        hidden=256,
        bottleneck=64,
        prototypes=512,
        order_weight=1.0,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
