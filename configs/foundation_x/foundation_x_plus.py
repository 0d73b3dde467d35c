# Foundation X+ (docs/methods/foundation_x_plus.md): lock phases for every task, one detection decoder with queries and
# heads of each dataset, and segmentation guided by the boxes that the dataset's detection head finds.
_base_ = ["./foundation_x.py"]

name = "foundation_x_plus"
model = dict(detection=dict(sharing="queries"), region_gate=dict(score=0.3, grow=1.5, spread=1.5, weight=0.5))
schedule = dict(
    cycles=100,
    lock=dict(classification=0.5, detection=0.5, segmentation=0.5),
)
views = dict(classification=dict(geometry=dict(_delete_=True, rotate=7)))
optimizer = dict(warmup=20 / 2000)
