# Foundation X as its released code trains it, where that changes numbers: the learning rate changes at the start of a
# cycle only, so that the first cycle runs at a twentieth of it (docs/methods/foundation_x.md,
# "3.2 Optimizer and learning rate").
_base_ = ["./foundation_x.py"]

name = "foundation_x_as_released"
optimizer = dict(every_cycle=True)
