"""A whole training step, teacher and optimizer included, between two readings of the losses."""

import itertools

import pytest

from foundationx.core.types import PhaseName, Task
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.host_traffic import Dispatched, HostTraffic
from tests.helpers.survival import tiny_trainer

WAITING = {"_local_scalar_dense", "nonzero", "_unique2", "masked_select"}
"""Operations whose result, or its size, the host must know."""

ALLOWED = {Task.CLASSIFICATION: 0, Task.SEGMENTATION: 0, Task.DETECTION: 1}
"""Detection's costs are fetched once, for all layers and images, to be matched."""


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 24, size=96, processes=1)
    options = {"runtime__log_every": 10_000, "runtime__batch_size": 2, "teacher__update": "step", "schedule__cycles": 1}
    options["schedule__lock__classification"] = 0.5
    return tiny_trainer(folder, folder / "checkpoints", fused=True, **options)


@pytest.mark.parametrize(("task", "name"), list(itertools.product(ALLOWED, PhaseName)))
def test_a_step_waits_for_the_device_only_to_match_boxes(trainer, task, name):
    phase = next(phase for phase in trainer.plan.phases if phase.key.task is task and phase.name is name)
    source = iter(trainer.batches(phase.first_step))
    trainer.step = phase.first_step
    with lock(trainer.model, phase.trainable):
        trainer._run_step(phase, source)  # the optimizer makes its state
        waits, calls = counted(lambda: trainer._run_step(phase, source))
    assert trainer.step < phase.end_step, "the losses were not read"
    assert waits <= ALLOWED[task], calls


def counted(step):
    """Waits of a step, and everything that was counted. Reading a batch happens on the host and is not counted."""
    with HostTraffic() as traffic, Dispatched() as operations:
        step()
    asked = sum(traffic.calls[name] for name in HostTraffic.WAITING if name != "numpy")  # comes after "cpu"
    by_size = sum(operations.calls[name] for name in WAITING)
    return max(asked, by_size), (dict(traffic.calls), {name: operations.calls[name] for name in WAITING})
