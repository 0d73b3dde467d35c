# The eleven datasets of Foundation X with their twenty tasks, in the order of a cycle (docs/methods/foundation_x.md,
# "2.1 Order of visits"): dataset by dataset, and inside a dataset classification, detection, segmentation. Uncertain
# labels as published.
datasets = [
    dict(card="chexpert", tasks=["classification"], options=dict(classification=dict(uncertain="lsr_ones"))),
    dict(card="nih_chestxray14", tasks=["classification"]),
    dict(card="vindr_cxr_global", tasks=["classification"]),
    dict(card="shenzhen", tasks=["classification"]),
    dict(card="mimic_cxr_jpg", tasks=["classification"], options=dict(classification=dict(uncertain="ones"))),
    dict(card="tbx11k", tasks=["classification", "detection"]),
    dict(card="node21", tasks=["classification", "detection"]),
    dict(card="candid_ptx", tasks=["classification", "detection", "segmentation"]),
    dict(card="rsna_pneumonia", tasks=["classification", "detection"]),
    dict(card="chestx_det", tasks=["classification", "detection", "segmentation"]),
    dict(card="siim_acr", tasks=["classification", "detection", "segmentation"]),
]
