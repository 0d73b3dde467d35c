# Ablation of Ark (docs/methods/ark.md, "1.3 Single-head ablation"): one classification head for all datasets, over the
# concepts that their cards name; what a dataset does not annotate is unknown in it.
_base_ = ["./ark.py"]

name = "ark_single_head"
model = dict(shared_head=True)
