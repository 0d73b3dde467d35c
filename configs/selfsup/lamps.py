# As published, on ChestX-ray14: options of the objective are their defaults (docs/self_supervision.md).
_base_ = ["../_base_/swin_base.py", "../_base_/selfsup_full.py"]

name = "lamps"
image_size = 448
model = dict(objective=dict(type="lamps"))
datasets = [dict(card="nih_chestxray14", tasks=["self_supervision"])]
