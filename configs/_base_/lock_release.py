# Foundation X's cycle with Lock-Release (docs/methods/foundation_x.md, "2 Training cycle"): every dataset is visited
# once a cycle, with a whole pass; the teacher is followed whatever it is worth.
schedule = dict(
    type="cyclic",
    lock=dict(classification=0.0, detection=0.5, segmentation=0.5),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
    lock_until=1.0,
    floor=0.0,
    turns=1,
)
consistency = dict(only_if_better=False)
