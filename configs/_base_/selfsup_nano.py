# Self-supervision on generated radiographs: images alone, the small Swin, minutes on two CPU cores.
_base_ = ["./swin_nano.py"]

image_size = 128
datasets = [dict(card="phantom_labels", tasks=["self_supervision"])]
schedule = dict(cycles=5, release=dict(self_supervision=4.0), turns=1)
teacher = dict(update="step", momentum=dict(type="cosine", start=0.95, end=0.995))
optimizer = dict(lr=1e-3, weight_decay=0.04, warmup=0.1, clip_norm=1.0)
evaluate = dict(every=1)
runtime = dict(batch_size=16, workers=1, log_every=10)
