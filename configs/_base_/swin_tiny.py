# A smaller backbone under full trunks: Swin-T, DINO with six encoder and decoder layers, UPerNet.
model = dict(
    backbone=dict(
        type="mmdet.SwinTransformer",
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
    ),
    detection=dict(sharing="decoder"),
    segmentation=dict(channels=96),
)
