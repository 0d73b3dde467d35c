# A Swin small enough to learn on two CPU cores, with trunks to match.
model = dict(
    backbone=dict(
        type="mmdet.SwinTransformer",
        embed_dims=32,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        mlp_ratio=2,
        drop_path_rate=0.0,  # so small a network has nothing to spare
        out_indices=(0, 1, 2, 3),
    ),
    detection=dict(
        sharing="decoder",
        embed_dims=64,
        num_heads=4,
        ffn_dims=128,
        encoder_layers=2,
        decoder_layers=2,
        queries=60,
        denoising=20,
        suppression=0.7,  # a few hundred steps do not always teach it to find a thing once
    ),
    segmentation=dict(channels=64),
)
