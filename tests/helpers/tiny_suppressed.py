# tiny_config with suppression of doubles among predicted boxes.
_base_ = ["./tiny_config.py"]

model = dict(detection=dict(suppression=0.7))
