"""What heads count ahead for several processes is what their losses divide by."""

import pytest
import torch

from foundationx.core import distributed
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task
from foundationx.models.foundation_model import FoundationModel
from tests.helpers.ranks_script import HEADS, make_batch
from tests.helpers.tiny_network import BACKBONE, DETECTION


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sections = {"backbone": BACKBONE, "detection": DETECTION | {"denoising": 5}, "segmentation": {"channels": 8}}
    return FoundationModel(ModelConfig.model_validate(sections), HEADS).train()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("key", HEADS, ids=str)
def test_every_number_that_a_loss_divides_by_is_counted_ahead(model, key, exclusive, monkeypatch):
    if exclusive and key.task is not Task.CLASSIFICATION:
        pytest.skip("only image labels can exclude each other")
    monkeypatch.setattr(model.head(key), "exclusive", exclusive if key.task is Task.CLASSIFICATION else None)
    asked = {}

    def mean_count(number, name=None):
        asked[name] = {int(value) for value in number.reshape(-1)}
        return number.clamp(min=1)

    monkeypatch.setattr(distributed, "mean_count", mean_count)
    batch = make_batch(key)
    model.losses(torch.rand(len(batch), 3, 64, 64), batch)
    counts = model.head(key).counts(batch)
    assert asked == {name: {number} for name, number in counts.items()}
    assert all(counts.values()), "a number that is 0 proves nothing"
