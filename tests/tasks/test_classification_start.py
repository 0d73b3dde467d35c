"""Where a classification head begins: at the share of its training images that have each class."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from torch import nn

from foundationx.apps.run.train import begin_heads
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch, Split, Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.classification.head import ClassificationHead
from foundationx.tasks.classification.losses import masked_bce
from tests.helpers.tiny_network import BACKBONE

KEY = TaskKey("d", Task.CLASSIFICATION)


def head_of(**more):
    network = FoundationModel(ModelConfig(backbone=BACKBONE, **more), {KEY: ("a", "b", "c")})
    return network.head(KEY)


def of_one(labels):
    return np.full(len(labels), "d")


def test_a_head_begins_at_the_priors_of_scikit_learn():
    """Half of the images drawn three times as often; a class of which nothing is known begins at even odds."""
    random = np.random.default_rng(0)
    labels = (random.random((20_000, 3)) < (0.02, 0.4, 0.9)).astype(np.float32)
    labels[random.random(labels.shape) < 0.3] = np.nan
    labels[:, 2] = np.nan
    weights = np.where(np.arange(len(labels)) % 2, 1.5, 0.5)
    head = head_of()
    head.see_labels(labels, weights, of_one(labels))
    begun = head.classifier.bias.detach().sigmoid()
    for k in (0, 1):
        known = ~np.isnan(labels[:, k])
        reference = DummyClassifier(strategy="prior").fit(np.zeros((known.sum(), 1)), labels[known, k], weights[known])
        assert float(begun[k]) == pytest.approx(reference.class_prior_[1], abs=1e-4)
    assert float(begun[2]) == 0.5


def test_a_head_of_classes_that_exclude_each_other_begins_at_their_shares():
    labels = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], [7000, 2500, 500])]
    head = head_of(softmax=(str(KEY),))
    head.see_labels(labels, np.ones(len(labels)), of_one(labels))
    assert head.classifier.bias.softmax(dim=0).tolist() == pytest.approx([0.7, 0.25, 0.05], abs=1e-3)


def test_a_rare_class_is_learned_from_the_first_steps_on():
    """From even odds the first steps of a class of 1 in 50 images go into its rarity: its loss is not below the
    prior's after 100 steps. From the prior it is at once."""
    labels = np.zeros((500, 1), dtype=np.float32)
    labels[:10] = 1
    torch.manual_seed(0)
    features = torch.randn(500, 8) + torch.from_numpy(labels)
    losses = {}
    for start in ("even", "prior"):
        torch.manual_seed(1)
        head = ClassificationHead(8, 1)
        if start == "prior":
            head.see_labels(labels, np.ones(500), of_one(labels))
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            loss = masked_bce(head(features, None), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
        losses[start] = float(loss.detach())
    prior = -(0.02 * np.log(0.02) + 0.98 * np.log(0.98))
    assert losses["prior"] < prior < losses["even"]


KEYS = [TaskKey(name, Task.CLASSIFICATION) for name in ("healthy", "sick")]


def two_hospitals(shares, **options):
    """One head for both; of 400 images 20 have the class, of 100 others 80; of a second class nothing is known in one.

    Returns:
        The head, and the labels (N, 2) of each dataset.
    """
    chosen = {"classification": {"type": "classification", "options": {"shares": shares, **options}}}
    config = ModelConfig(backbone=BACKBONE, shared_head=True, heads=chosen)
    torch.manual_seed(0)
    head = FoundationModel(config, dict.fromkeys(KEYS, ("a", "b"))).head(KEYS[0])
    labels = [np.zeros((count, 2), dtype=np.float32) for count in (400, 100)]
    labels[0][:20, 0] = labels[0][:200, 1] = labels[1][:80, 0] = 1
    labels[1][:, 1] = np.nan
    datasets = np.repeat([key.dataset for key in KEYS], [400, 100])
    head.see_labels(np.concatenate(labels), np.ones(500), datasets)
    return head, labels


def batch_of(key, labels):
    return Batch(key, None, None, torch.from_numpy(labels), ())


def test_with_shares_of_datasets_a_head_that_says_the_pooled_share_has_nothing_to_learn_from_either():
    """By default it has: that the class is rare in one dataset and frequent in the other."""
    pulls = {}
    for shares in ("pooled", "dataset"):
        head, labels = two_hospitals(shares)
        for key, own in zip(KEYS, labels, strict=True):
            outputs = head.classifier.bias.detach().repeat(len(own), 1).requires_grad_()
            sum(head.loss(outputs, batch_of(key, own)).values()).backward()
            pulls[shares, key.dataset] = (outputs.grad.sum(0) * (~np.isnan(own)).sum() / len(own)).tolist()
    assert pulls["pooled", "healthy"][0] == pytest.approx(100 / 500 - 20 / 400, abs=1e-3)
    assert pulls["pooled", "sick"][0] == pytest.approx(100 / 500 - 80 / 100, abs=1e-3)
    for name in ("healthy", "sick"):
        assert pulls["dataset", name] == pytest.approx([0, 0], abs=3e-3)


def test_the_share_of_a_dataset_is_that_of_scikit_learn_and_predictions_have_the_pooled_one():
    head, labels = two_hospitals("dataset")
    torch.manual_seed(0)
    outputs = torch.randn(100, 2)
    priors = [
        DummyClassifier(strategy="prior").fit(np.zeros((len(own), 1)), own[:, 0]).class_prior_[1] for own in labels
    ]
    pooled = DummyClassifier(strategy="prior").fit(np.zeros((500, 1)), np.concatenate(labels)[:, 0]).class_prior_[1]
    for key, own, prior in zip(KEYS, labels, priors, strict=True):
        shifted = outputs[:, :1] + float(np.log(prior / (1 - prior)) - np.log(pooled / (1 - pooled)))
        truth = own[:100].copy()
        truth[:, 1] = np.nan
        (value,) = head.loss(outputs, batch_of(key, truth)).values()
        reference = nn.functional.binary_cross_entropy_with_logits(shifted, torch.from_numpy(truth[:, :1]))
        assert float(value) == pytest.approx(float(reference), abs=0.02)
    assert torch.equal(head.predict(outputs, (8, 8)).probabilities, outputs.sigmoid())


def test_shares_of_datasets_serve_other_losses_too_and_change_nothing_where_a_head_has_one_dataset():
    head, labels = two_hospitals("dataset", loss={"type": "asymmetric", "present": 0, "absent": 0, "margin": 0})
    plain, _ = two_hospitals("dataset")
    torch.manual_seed(0)
    outputs = torch.randn(100, 2)
    values = [next(iter(one.loss(outputs, batch_of(KEYS[1], labels[1])).values())) for one in (head, plain)]
    assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-5)
    alone = head_of(heads={"classification": {"type": "classification", "options": {"shares": "dataset"}}})
    default = head_of()
    truth = np.eye(3, dtype=np.float32)[np.random.default_rng(0).integers(3, size=50)]
    for one in (alone, default):
        one.see_labels(truth, np.ones(50), of_one(truth))
    found = [float(one.loss(torch.ones(50, 3), batch_of(KEY, truth))["bce"]) for one in (alone, default)]
    assert found[0] == found[1]


@pytest.mark.parametrize(("balance", "expected"), [("none", 4.5 / 41), ("labels", 0.5)])
def test_a_run_shows_each_head_what_its_passes_draw(balance, expected):
    """40 training images, 4 of them with the class; held-out images, all with it, do not count."""
    labels = np.zeros((60, 1), dtype=np.float32)
    labels[:4] = labels[40:] = 1
    table = SimpleNamespace(key=KEY, labels=labels)
    config = SimpleNamespace(schedule=SimpleNamespace(balance=balance))
    indices = {KEY: {Split.TRAIN: np.arange(40), Split.VAL: np.arange(40, 60)}}
    network = FoundationModel(ModelConfig(backbone=BACKBONE), {KEY: ("a",)})
    begin_heads(network, SimpleNamespace(config=config, annotations={KEY: table}, indices=indices))
    assert float(network.head(KEY).classifier.bias.detach().sigmoid()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("classifier", "begins"),
    [
        (nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)), True),
        (nn.Linear(8, 3, bias=False), False),
        (nn.Sequential(nn.Linear(8, 6), nn.GLU()), False),
        (nn.Bilinear(8, 8, 3), False),
    ],
)
def test_a_derived_head_begins_there_if_its_last_layer_has_a_bias_for_each_class(classifier, begins):
    head = ClassificationHead(8, 3)
    head.classifier = classifier
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.see_labels(np.eye(3, dtype=np.float32), np.ones(3), np.full(3, "d"))
    changed = [name for name, value in head.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == (["classifier.2.bias"] if begins else [])
