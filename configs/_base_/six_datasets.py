# The six classification datasets of Ark-6 and Ark+, in the order of their rounds (docs/methods/ark.md,
# "1.2 Projector and heads"), with the published policies for uncertain labels.
datasets = [
    dict(card="mimic_cxr_jpg", tasks=["classification"], options=dict(classification=dict(uncertain="ones"))),
    dict(card="chexpert", tasks=["classification"], options=dict(classification=dict(uncertain="lsr_ones"))),
    dict(card="nih_chestxray14", tasks=["classification"]),
    dict(card="rsna_pneumonia", tasks=["classification"]),
    dict(card="vindr_cxr_global", tasks=["classification"]),
    dict(card="shenzhen", tasks=["classification"]),
]
