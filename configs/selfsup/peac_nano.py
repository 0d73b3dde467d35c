# PEAC: two overlapping crops agree; order and pixels are restored.
_base_ = ["../_base_/selfsup_nano.py"]

name = "peac_nano"
model = dict(objective=dict(type="peac", cells=4, shift=2, whole_width=512, place_width=128))
