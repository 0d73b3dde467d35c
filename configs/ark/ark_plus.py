# Ark+ (Ma et al., Nature 2025; docs/methods/ark.md): Swin-L at 768 pixels. The teacher sees the whole image; classes of
# RSNA exclude each other (cross-entropy); the projector is one linear layer.
_base_ = ["./ark.py"]

name = "ark_plus"
image_size = 768
model = dict(
    backbone=dict(embed_dims=192, num_heads=(6, 12, 24, 48), window_size=12),
    projector=dict(features=1376, hidden=False),
    softmax=["rsna_pneumonia/classification"],
)
views = dict(classification=dict(teacher="whole"))
schedule = dict(cycles=50)  # the released weights are those of round 50
optimizer = dict(warmup=0.4)  # 20 of 50 rounds
runtime = dict(batch_size=50)
