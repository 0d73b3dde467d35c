# As published, on ChestX-ray14: options of the objective are their defaults (docs/self_supervision.md).
_base_ = ["../_base_/swin_base.py", "../_base_/selfsup_full.py"]

name = "lamps"
image_size = 448
# Windows are always shifted and layer norms have eps 1e-6, as in the released network.
model = dict(
    backbone=dict(type="mmdet.SwinTransformer", norm_cfg=dict(type="LN", eps=1e-6)), objective=dict(type="lamps")
)
datasets = [dict(card="nih_chestxray14", tasks=["self_supervision"])]
