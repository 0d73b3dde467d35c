# Lamps: beyond the border, order, hierarchy, consistency, one a batch in turn. In a short run tokens that are targets
# become alike, for what all have in common is hit first; it is taken away by normalising them over the batch.
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
        targets="batch",
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
