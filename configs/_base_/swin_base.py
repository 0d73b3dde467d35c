# Swin-B by the published rule of shifting (none where one window covers the map), DINO with six
# encoder and decoder layers, UPerNet (docs/methods/foundation_x.md, "1 Network").
model = dict(
    backbone=dict(
        type="mmdet.PublishedSwin",
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=7,
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
    ),
    detection=dict(sharing="decoder"),
    segmentation=dict(channels=128),
)
