# `foundationx demo`: the run of `phantom.py`, evaluated no more than the demo shows.
_base_ = ["./phantom.py"]

name = "demo"
# a sample of the untrained model; of the trained ones the teacher alone, which is exported
evaluate = dict(first=40, models=["teacher"], examples=12)
