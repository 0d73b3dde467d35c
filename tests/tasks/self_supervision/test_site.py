"""Site guidance: reversed gradients, equal means, what is remembered, and one objective for all datasets."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.geometry.views import START, ViewBatch
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import head_owner
from foundationx.tasks.self_supervision.objective import ObjectiveBatch, Tokens, open_objective
from tests.helpers.selfsup_tiny import CONFIG


def objective(**options):
    chosen, parsed = open_objective({"type": "site", "hidden": 8, "memory": 6, "sites": 4, "size": 32, **options})
    torch.manual_seed(0)
    return chosen(5, parsed)


def shown(site, values, dataset):
    """A batch whose pooled features are ``values`` (B, 5)."""
    images = torch.zeros(len(values), 1, 32, 32, dtype=torch.uint8)
    view = ViewBatch(images, torch.zeros(len(values), 4), torch.zeros(1))

    def encode(images):
        return Tokens(values[:, None], (1, 1))

    return ObjectiveBatch({"image": view}, START, encode, encode, site, lambda images: images, dataset)


def features(seed, number=4):
    return torch.randn(number, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def test_the_first_dataset_alone_has_nothing_to_hide():
    site = objective().train()
    values = features(0).requires_grad_()
    output = site(shown(site, values, "a"))
    output.losses["site"].backward()
    assert output.losses["site"].item() == 0 and (values.grad == 0).all()
    assert site.filled.tolist() == [4, 0, 0, 0]


def test_the_backbone_gets_the_classifier_s_gradient_reversed_and_the_classifier_its_own():
    site = objective(weight=0.7).train()
    site(shown(site, features(0), "a"))
    values = features(1).requires_grad_()
    site(shown(site, values, "b")).losses["site"].backward()
    mine, of_classifier = values.grad.clone(), site.classifier[0].weight.grad.clone()

    again = objective(weight=0.7).train()
    again(shown(again, features(0), "a"))
    plain = features(1).requires_grad_()
    logits = again.classifier(F.layer_norm(plain, (5,)))[:, :2]
    other = again.classifier(F.layer_norm(features(0), (5,)))[:, :2]
    loss = (F.cross_entropy(logits, torch.ones(4).long()) + F.cross_entropy(other, torch.zeros(4).long())) / 2
    loss.backward()
    torch.testing.assert_close(mine, -0.7 * plain.grad)
    torch.testing.assert_close(of_classifier, again.classifier[0].weight.grad)


def test_suppression_is_the_distance_of_means_in_units_of_the_spread():
    site = objective(method="suppress", weight=2.0).train()
    site(shown(site, features(0), "a"))
    site(shown(site, features(1), "b"))
    value = site(shown(site, features(2), "c")).losses["site"].item()
    normed = [F.layer_norm(features(seed), (5,)).numpy() for seed in range(3)]
    terms = []
    for other in normed[:2]:
        within = (other.var(axis=0) + normed[2].var(axis=0)) / 2
        terms.append(((normed[2].mean(axis=0) - other.mean(axis=0)) ** 2 / (within + 1e-5)).mean())
    assert value == pytest.approx(2 * np.mean(terms), rel=1e-4)


def test_the_newest_images_of_each_dataset_are_remembered_in_training_alone():
    site = objective().train()
    for seed in range(3):
        site(shown(site, features(seed), "a"))
    assert site.filled.tolist() == [6, 0, 0, 0]
    expected = torch.cat([F.layer_norm(features(2), (5,)), F.layer_norm(features(1), (5,))[:2]])
    torch.testing.assert_close(site.bank[0], expected)
    before = {name: value.clone() for name, value in site.state_dict().items()}
    site.eval()
    site(shown(site, features(4), "a"))
    assert site(shown(site, features(5), "new")).losses["site"].item() == 0
    assert all(torch.equal(value, before[name]) for name, value in site.state_dict().items())
    site.train()
    for name in ("b", "c", "d"):
        site(shown(site, features(6), name))
    with pytest.raises(ConfigError, match="more than 4 datasets"):
        site(shown(site, features(6), "e"))


def test_one_objective_serves_all_datasets_and_others_have_their_own():
    changes = {"model.objective": {"_delete_": True, "type": "site", "size": 64}}
    config = load_config(CONFIG, changes)
    keys = [TaskKey(name, Task.SELF_SUPERVISION) for name in ("a", "b")]
    model = FoundationModel(config.model, dict.fromkeys(keys, ()))
    assert model.head(keys[0]) is model.head(keys[1])
    assert head_owner(keys[0], config.model) == TaskKey("shared", Task.SELF_SUPERVISION)
    plain = load_config(CONFIG)
    assert head_owner(keys[0], plain.model) == keys[0]
