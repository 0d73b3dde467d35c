# The smallest run that does everything; seconds on one core.
_base_ = ["../../configs/_base_/lock_release.py", "../../configs/_base_/views.py"]

name = "tiny"
image_size = 64
model = dict(
    backbone=dict(
        type="mmdet.SwinTransformer",
        embed_dims=8,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=4,
        drop_path_rate=0.1,
        out_indices=(0, 1, 2, 3),
    ),
    detection=dict(
        embed_dims=16, num_heads=2, ffn_dims=16, encoder_layers=1, decoder_layers=2, queries=10, denoising=4
    ),
    segmentation=dict(channels=8),
)
datasets = [dict(card="phantom_labels"), dict(card="phantom_boxes"), dict(card="phantom_masks")]
split = dict(seed=323579)  # the first three patients of every phantom dataset are in three splits: no split is empty
schedule = dict(cycles=2)
teacher = dict(momentum=0.8, update="phase")
consistency = dict(weight=0.5)
evaluate = dict(every=1, examples=2)
runtime = dict(batch_size=4, eval_batch_size=4, workers=0, log_every=1)
