# UniHead's two-stage detector on COCO with the published settings, for whoever holds COCO (docs/methods/unihead.md, 5):
# ResNet-50, 13 passes, 32 images a step, AdamW at 2e-4. The card lies beside this file:
#     foundationx train configs/unihead/coco/unihead_coco.py --data-root DATA --registry configs/unihead/coco
# Weights of ImageNet: foundationx import, then --cfg-options model.init=....
_base_ = ["../../_base_/schedule.py"]

name = "unihead_coco"
image_size = 800
datasets = [dict(card="coco", tasks=["detection"])]
model = dict(
    backbone=dict(type="mmdet.ResNet", depth=50, out_indices=(0, 1, 2, 3)),
    heads=dict(detection=dict(type="unihead", options=dict(as_released=True, class_boxes=True))),
)
views = dict(detection=dict(geometry=dict(hflip=0.5), teacher="clean"))
schedule = dict(cycles=13, turns=1, floor=0.0)
consistency = dict(weight=0.0)
optimizer = dict(lr=2e-4, weight_decay=0.05, betas=(0.9, 0.999), warmup=0.0105)  # 500 of 47,600 steps
runtime = dict(batch_size=32)
