# Ark+ without pooling the data (docs/methods/ark.md, "6 Federated training"): three clients keep their datasets to
# themselves, a master takes the mean of what they make of it, 50 rounds. Classes of RSNA do not exclude each other
# here: the released federated code uses binary cross-entropy for all. `foundationx federate` runs it; it simulates the
# clients in one process.
_base_ = ["./ark_plus.py"]

name = "ark_plus_federated"
model = dict(softmax=[])
schedule = dict(type="federated")
federation = dict(
    clients=[
        ["mimic_cxr_jpg"],
        ["chexpert", "rsna_pneumonia"],
        ["nih_chestxray14", "vindr_cxr_global", "shenzhen"],
    ]
)
