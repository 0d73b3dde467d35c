# Foundation X's cycle with Lock-Release (foundation_x.md section 2).
schedule = dict(
    type="cyclic",
    lock=dict(classification=0.0, detection=0.5, segmentation=0.5),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
)
