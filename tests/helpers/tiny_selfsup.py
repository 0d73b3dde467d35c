# The smallest self-supervised run; which objective is laid over it.
_base_ = ["./tiny_config.py"]

name = "tiny_selfsup"
model = dict(objective=dict(type="adam", size=64, hidden=16, output=8, queue=16))
datasets = [dict(card="phantom_labels", tasks=["self_supervision"])]
schedule = dict(cycles=2, release=dict(self_supervision=1.0))
teacher = dict(update="step", momentum=0.9)
evaluate = dict(every=0)
