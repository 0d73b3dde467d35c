# Swin-T under full trunks: what differs from Swin-B.
_base_ = ["./swin_base.py"]

model = dict(
    backbone=dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    segmentation=dict(channels=96),
)
