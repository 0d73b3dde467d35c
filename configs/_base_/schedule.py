# The cycle that pays (docs/experiment.md): heads take short turns and have the steps that their tasks need; nothing is
# locked, and the teacher follows the student as a mean over its last steps, which no loss asks.
schedule = dict(
    type="cyclic",
    lock=dict(classification=0.0, detection=0.0, segmentation=0.0),
    release=dict(classification=1.0, detection=1.0, segmentation=1.0),
    floor=1.0,
    turns=16,
)
