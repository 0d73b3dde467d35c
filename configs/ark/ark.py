# Ark-6 (Ma et al., MICCAI 2023; docs/methods/ark.md): Swin-B at 224 pixels, 200 rounds over six datasets' own heads, a
# projector, a teacher that follows once a visit, its feature drawn near by a growing consistency loss.
_base_ = ["../_base_/swin_base.py", "../_base_/six_datasets.py"]

name = "ark"
image_size = 224
model = dict(
    backbone=dict(drop_path_rate=0.1),
    projector=dict(features=1376, hidden=True),
)
# No lock: a round is one whole pass over each dataset, in one visit.
schedule = dict(
    cycles=200,
    lock=dict(classification=0.0, detection=0.0, segmentation=0.0),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
    floor=0.0,
    turns=1,
)
teacher = dict(momentum=dict(type="cosine", start=0.9, end=1.0), update="visit")
consistency = dict(weight=dict(type="cosine", start=0.0, end=0.5), only_if_better=False)
# The student sees a random crop, turned and shifted; the teacher the same crop with its tones as they are.
views = dict(
    classification=dict(
        geometry=dict(crop_scale=(0.08, 1.0), rotate=10, shift=0.0625, scale=0.1, affine_chance=0.5),
        photometry=dict(brightness=0.2, contrast=0.2, gamma=0.2, chance=0.3),
        teacher="clean",
    )
)
optimizer = dict(
    type="sgd",
    lr=0.3,
    momentum=0.9,
    weight_decay=0.0,
    warmup=0.1,  # 20 of 200 rounds
    curve=dict(type="cosine", start=1.0, end=3.3e-5),
    clip_norm=None,
)
evaluate = dict(every=10)
runtime = dict(batch_size=200, workers=12, precision="bf16", log_every=50)
