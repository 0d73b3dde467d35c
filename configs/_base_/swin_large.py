# Swin-L as Foundation X+ uses it at large sizes: one detection decoder, queries and heads for each dataset.
model = dict(
    backbone=dict(
        type="mmdet.SwinTransformer",
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
    ),
    detection=dict(sharing="queries"),
    segmentation=dict(channels=192),
)
