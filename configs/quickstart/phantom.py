# The demo: generated radiographs in three published layouts, one annotated with labels, one with boxes, one with masks.
# Minutes on two CPU cores.
_base_ = ["../_base_/swin_nano.py", "../_base_/schedule.py", "../_base_/views.py"]

name = "phantom"
image_size = 128
datasets = [
    dict(card="phantom_labels"),
    dict(card="phantom_boxes"),
    dict(card="phantom_masks"),
]
split = dict(file="phantom_splits.csv")  # written with the radiographs
_mild = dict(geometry=dict(rotate=3, scale=0.05, shift=0.03), photometry=dict(brightness=0.1, contrast=0.1))
views = dict(
    classification=dict(_delete_=True, teacher="clean", **_mild),
    detection=dict(_delete_=True, teacher="clean", **_mild),
    segmentation=dict(_delete_=True, teacher="clean", **_mild),
)
model = dict(
    backbone=dict(type="mmdet.PublishedSwin"),
    # a query of each class looks for it: small findings are learned in fewer steps than from the mean over the image
    heads=dict(classification=dict(type="glori", options=dict(width=64))),
)
# floor=0: these passes suffice here (README), though `plan` names segmentation: its heads need more steps as a rule
schedule = dict(cycles=3, floor=0.0, release=dict(classification=4.2, detection=1.6, segmentation=1.4))
optimizer = dict(lr=1e-3, weight_decay=0.02, clip_norm=1.0, lr_scale=dict(backbone=0.4), fused=True)
evaluate = dict(every=0)  # before and after training
runtime = dict(batch_size=8, workers=0, log_every=10)
