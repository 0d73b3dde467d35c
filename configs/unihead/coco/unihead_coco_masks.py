# UniHead's outlines on COCO with the published settings (docs/methods/unihead.md, 5).
_base_ = ["unihead_coco.py"]

name = "unihead_coco_masks"
datasets = [dict(card="coco", tasks=["segmentation"])]
model = dict(
    heads=dict(
        _delete_=True,
        segmentation=dict(type="unihead", options=dict(as_released=True, class_boxes=True, outlines=100)),
    )
)
views = dict(segmentation=dict(geometry=dict(hflip=0.5), teacher="clean"))
