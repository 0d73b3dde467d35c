# Two public sets of chest X-rays with and without tuberculosis, which need no account (about 4 GB): labels of both, and
# lung masks of Montgomery. See docs/datasets.md, shenzhen and montgomery, for the folders.
_base_ = ["../_base_/swin_nano.py", "../_base_/schedule.py", "../_base_/views.py"]

name = "tuberculosis"
image_size = 192
datasets = [
    dict(card="shenzhen"),
    dict(card="montgomery"),
]
split = dict(train=0.7, val=0.15, test=0.15)
schedule = dict(cycles=8)
optimizer = dict(lr=1e-3, weight_decay=0.02, clip_norm=1.0, lr_scale=dict(backbone=0.5))
evaluate = dict(every=2)
runtime = dict(batch_size=8, workers=1, log_every=5)
