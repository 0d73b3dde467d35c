# PEAC: two overlapping crops agree; order and pixels are restored.
_base_ = ["../_base_/selfsup_nano.py"]

name = "peac_nano"
model = dict(objective=dict(type="peac", cells=4, shift=2, global_width=512, local_width=128))
