# Seven small real sets in the published formats: labels, boxes, polygons, masks with unknown pixels, overlapping masks,
# class folders. Patients of several sets stay on one side of the split.
_base_ = ["../../configs/_base_/swin_nano.py", "../../configs/_base_/schedule.py", "../../configs/_base_/views.py"]

name = "cxr_multi"
image_size = 192
datasets = [
    dict(card="multi_nih_labels"),
    dict(card="multi_lung_masks"),
    dict(card="multi_chestx_det"),
    dict(card="multi_lung_boxes"),
    dict(card="multi_covid_structures"),
    dict(card="multi_paediatric"),
    dict(card="multi_nih_boxes"),
]
split = dict(train=0.7, val=0.3, test=0.0)
schedule = dict(
    cycles=32,  # as many as its nine heads need
    steps={"multi_nih_labels/classification": 600},  # fourteen findings, most of them rare
)
optimizer = dict(lr=1e-3, weight_decay=0.02, clip_norm=1.0, lr_scale=dict(backbone=0.5))
evaluate = dict(every=5, final=["val"])
runtime = dict(batch_size=8, workers=1, log_every=5)
