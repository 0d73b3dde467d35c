# The smallest run with UniHead, its boxes without proposals.
_base_ = ["./tiny_unihead.py"]

name = "tiny_one_stage"
_sizes = dict(channels=16, attention_heads=2, class_hidden=16, place_hidden=16)
model = dict(heads=dict(detection=dict(_delete_=True, type="unihead_one_stage", options=dict(assign="atss", **_sizes))))
