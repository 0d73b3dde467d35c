# Adam: contrast of tiles, from the whole image to sixteenths.
_base_ = ["../_base_/selfsup_nano.py"]

name = "adam_nano"
model = dict(
    objective=dict(
        type="adam",
        size=128,
        hidden=256,
        output=64,
        queue=512,
        rotate=10,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
