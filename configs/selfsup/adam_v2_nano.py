# Adam-v2: localisation, then composition and decomposition. A short run: with many prototypes, large steps and a
# teacher that follows fast, every image gets the same answer before there is anything to agree on.
_base_ = ["../_base_/selfsup_nano.py"]

name = "adam_v2_nano"
model = dict(
    objective=dict(
        type="adam_v2",
        size=128,
        small_size=64,
        hidden=256,
        bottleneck=64,
        prototypes=64,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
teacher = dict(_delete_=True, update="step", momentum=0.99)
optimizer = dict(lr=5e-4)
