# Real chest X-rays of the public covid-chestxray-dataset, annotated by three groups: findings, lung boxes, lung masks.
# https://github.com/ieee8023/covid-chestxray-dataset (images: licence of each in metadata.csv)
_base_ = ["../../configs/_base_/swin_nano.py", "../../configs/_base_/schedule.py", "../../configs/_base_/views.py"]

name = "covid_cxr"
image_size = 192
datasets = [
    dict(card="covid_chestxray", root="."),
    dict(card="covid_lung_boxes", root="."),
    dict(card="covid_lung_masks", root="."),
]
split = dict(train=0.75, val=0.25, test=0.0)
schedule = dict(cycles=24)  # as many as its heads need
optimizer = dict(lr=1e-3, weight_decay=0.02, clip_norm=1.0, lr_scale=dict(backbone=0.5))
evaluate = dict(every=4, final=["val"])
runtime = dict(batch_size=8, workers=1, log_every=5)
