# Self-supervision as published (docs/methods/self_supervision.md, "2.4 Optimisation" and "4.4 Training"), with AdamW
# for all five objectives; the teacher follows every step. The published learning rate is 5e-4 for 256 images; here it
# is scaled to 32.
schedule = dict(cycles=300, release=dict(self_supervision=1.0), turns=1)
teacher = dict(update="step", momentum=dict(type="cosine", start=0.996, end=1.0))
optimizer = dict(
    lr=6.25e-5, weight_decay=0.04, warmup=0.03, clip_norm=0.8, curve=dict(type="cosine", start=1.0, end=0.01)
)
evaluate = dict(every=10)
runtime = dict(batch_size=32, eval_batch_size=32, workers=8, precision="bf16", log_every=50)
