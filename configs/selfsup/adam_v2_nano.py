# Adam-v2: localisation, then composition and decomposition. A short run: with many prototypes, large steps or a fast
# teacher, whose logits run away from their centre, every image gets the same answer before there is anything to agree
# on; small views make more steps; and crops anywhere in the whole image, which the first published stage makes alike,
# would teach that position does not matter.
_base_ = ["../_base_/selfsup_nano.py"]

name = "adam_v2_nano"
model = dict(
    objective=dict(
        type="adam_v2",
        size=96,
        small_size=32,
        stages=[("localise", 1, 2), ("localise", 2, 2), ("compose", 1, 1), ("compose", 2, 2)],
        hidden=256,
        bottleneck=64,
        prototypes=64,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
teacher = dict(_delete_=True, update="step", momentum=dict(type="cosine", start=0.99, end=0.999))
optimizer = dict(lr=5e-4)
