# Ablation of Ark (docs/methods/ark.md, "1.4 Concurrent ablation"): batches of all datasets mixed in place of one
# dataset after the other; momentum, consistency and the teacher follow every step.
_base_ = ["./ark.py"]

name = "ark_concurrent"
schedule = dict(type="concurrent", order="shuffled")
teacher = dict(update="step")
