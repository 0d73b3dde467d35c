# As published, on ChestX-ray14: options of the objective are their defaults (docs/self_supervision.md).
_base_ = ["../_base_/swin_base.py", "../_base_/selfsup_full.py"]

name = "adam"
image_size = 224
model = dict(objective=dict(type="adam"))
datasets = [dict(card="nih_chestxray14", tasks=["self_supervision"])]
teacher = dict(_delete_=True, update="step", momentum=0.999)
