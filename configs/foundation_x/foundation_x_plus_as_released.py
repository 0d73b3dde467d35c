# Foundation X+ as released: segmentation is guided in training only, and the learning rate changes at the start of a
# cycle only (docs/methods/foundation_x_plus.md, "1.2 Region-guided segmentation" and "2.3 Schedule and views").
_base_ = ["./foundation_x_plus.py"]

name = "foundation_x_plus_as_released"
model = dict(region_gate=dict(at_test=False, corners=True))
optimizer = dict(every_cycle=True)
