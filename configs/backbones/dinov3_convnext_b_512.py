# ConvNeXt-B pretrained by DINOv3 (arXiv 2508.10104), at 512 pixels, on the eleven datasets of Foundation X: of DINOv3's
# backbones the one that gained most from 512 pixels on chest radiographs (arXiv 2510.07191). Weights: foundationx
# import dinov3_convnext_base_pretrain_lvd1689m-801f2ba9.pth --out weights/dinov3_convnext_b, and then
# --cfg-options model.init=weights/dinov3_convnext_b/backbone.safetensors; without model.init it starts at random.
_base_ = ["../foundation_x/foundation_x.py"]

name = "dinov3_convnext_b_512"
image_size = 512
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmdet.ConvNeXt",
        depths=(3, 3, 27, 3),
        dims=(128, 256, 512, 1024),
        drop_path_rate=0.2,
        pooled_norm=True,
        out_indices=(0, 1, 2, 3),
    ),
)
optimizer = dict(layer_decay=0.8)  # as ConvNeXt-B's authors fine-tune it
runtime = dict(batch_size=8)
