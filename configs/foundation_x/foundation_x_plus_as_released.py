# Foundation X+ as released: segmentation is guided in training only, and the learning rate changes at the start of a
# cycle only (foundation_x.md sections 1.5 and 3.2).
_base_ = ["./foundation_x_plus.py"]

name = "foundation_x_plus_as_released"
model = dict(region_gate=dict(at_test=False))
optimizer = dict(every_cycle=True)
