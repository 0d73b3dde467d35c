# Foundation X's cycle with Lock-Release (docs/methods/foundation_x.md, "2 Training cycle").
schedule = dict(
    type="cyclic",
    lock=dict(classification=0.0, detection=0.5, segmentation=0.5),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
)
