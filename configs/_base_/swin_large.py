# Swin-L as Foundation X+ uses it at large sizes: one detection decoder, queries and heads for each dataset.
_base_ = ["./swin_base.py"]

model = dict(
    backbone=dict(embed_dims=192, num_heads=(6, 12, 24, 48), window_size=12),
    detection=dict(sharing="queries"),
    segmentation=dict(channels=192),
)
