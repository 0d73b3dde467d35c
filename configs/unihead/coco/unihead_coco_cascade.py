# UniHead's cascade of three stages on COCO with the published settings (docs/methods/unihead.md, 5).
_base_ = ["unihead_coco.py"]

name = "unihead_coco_cascade"
model = dict(heads=dict(detection=dict(options=dict(cascade=True, class_boxes=False))))
