# ACE: tokens of a wide crop divide into those of a narrow one, and back.
_base_ = ["../_base_/selfsup_nano.py"]

name = "ace_nano"
model = dict(
    objective=dict(
        type="ace",
        cells=4,
        shift=2,
        hidden=256,
        bottleneck=64,
        prototypes=512,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
