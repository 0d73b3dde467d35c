# Adam: contrast of tiles, from quarters to sixteenths. A short run: what distinguishes whole images is the patient, not
# the anatomy, and a teacher that moves fast fills a long queue with keys of networks that are no more, which are told
# apart as such.
_base_ = ["../_base_/selfsup_nano.py"]

name = "adam_nano"
model = dict(
    objective=dict(
        type="adam",
        size=128,
        tiles=(2, 4),
        hidden=256,
        output=64,
        queue=256,
        rotate=10,
        photometry=dict(brightness=0.2, contrast=0.2),
    )
)
teacher = dict(_delete_=True, update="step", momentum=0.99)
optimizer = dict(lr=3e-4)
