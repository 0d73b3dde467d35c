# Adam-v2: localisation, then composition and decomposition.
_base_ = ["../_base_/selfsup_nano.py"]

name = "adam_v2_nano"
model = dict(
    objective=dict(
        type="adam_v2",
        size=128,
        small_size=64,
        hidden=256,
        bottleneck=64,
        prototypes=512,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
