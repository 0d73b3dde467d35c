# Continual pretraining of Ark: a seventh dataset joins an Ark-6 run that is finished. Backbone, projector and the six
# heads are that run's teacher's, matched by name; COVIDx gets a fresh head. Published with a third of the rate.
# RSNA's own test images are in COVIDx's training list (docs/methods/ark.md, "4.3 Images shared between datasets"):
# patients decide the split, see docs/audit.md.
_base_ = ["./ark.py"]

name = "ark_continual"
model = dict(init_run="work_dirs/ark")
datasets = [*_base_.datasets, dict(card="covidx", tasks=["classification"])]
optimizer = dict(lr=0.1)
