# Foundation X's cycle and teacher (foundation_x.md section 2), with one learning-rate schedule over all steps.
schedule = dict(
    type="cyclic",
    lock=dict(classification=0.0, detection=0.5, segmentation=0.5),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
)
teacher = dict(momentum=0.8, update="phase")
consistency = dict(weight=0.5)
