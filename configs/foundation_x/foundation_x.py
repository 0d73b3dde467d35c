# Foundation X (Islam et al., WACV 2025; docs/methods/foundation_x.md): Swin-B at 224 pixels, eleven datasets, twenty
# tasks a cycle, 150 cycles (3,000 visits). Lock-Release for detection and segmentation; a detection decoder for each
# dataset.
_base_ = ["../_base_/swin_base.py", "../_base_/eleven_datasets.py", "../_base_/lock_release.py"]

name = "foundation_x"
image_size = 224
# Windows are always shifted, as in the released network.
model = dict(backbone=dict(type="mmdet.SwinTransformer"), detection=dict(proposal_loss_weight=0.0))
schedule = dict(cycles=150)
teacher = dict(momentum=0.8, update="phase")
consistency = dict(weight=0.5)
views = dict(
    classification=dict(geometry=dict(crop_scale=(0.08, 1.0), rotate=7), teacher="same"),
    detection=dict(teacher="same"),
    segmentation=dict(
        geometry=dict(rotate=10, scale=0.1, shift=0.0625, affine_chance=0.5),
        photometry=dict(brightness=0.2, contrast=0.2, chance=0.5),
        teacher="same",
    ),
)
optimizer = dict(
    lr=1e-4,
    weight_decay=1e-4,
    decay_norms_and_biases=True,
    lr_scale={"backbone": 0.1, "head.classification": 0.1},
    warmup=20 / 3000,  # the first 20 visits
    clip_norm=0.1,
)
evaluate = dict(every=5)
runtime = dict(batch_size=24, workers=12, log_every=50)
