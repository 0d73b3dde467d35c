"""Training steps in bf16 on the CPU: no scaler, finite, near single precision, for every task; and merged groups."""

import pytest
import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.types import PhaseName, Split, Task
from foundationx.data.datamodule import open_datasets
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.step import precision, training_losses
from foundationx.engine.trainer import Trainer
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.selfsup_tiny import tiny_selfsup
from tests.helpers.survival import tiny_trainer

NEAR = 0.05
"""Relative: bf16 has 8 bits of mantissa, and several layers' roundings add up."""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 14, size=64, processes=1)
    return folder


@pytest.fixture(scope="module")
def trainer(phantoms, tmp_path_factory):
    options = {"model__backbone__drop_path_rate": 0.0, "schedule__cycles": 1, "schedule__lock__classification": 0.5}
    options["image_size"] = (
        128  # at 64 the coarsest level is one pixel: its norm divides by the difference of two numbers
    )
    return tiny_trainer(phantoms, tmp_path_factory.mktemp("run"), **options)


def losses_of(trainer, phase, chosen):
    """Named losses and the gradient of one step in a precision; weights and statistics stay as they are."""
    batch = next(iter(trainer.batches(phase.first_step)))
    state = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    runtime = trainer.config.runtime.model_copy(update={"precision": chosen})
    with lock(trainer.model, phase.trainable):
        torch.manual_seed(0)
        with precision(runtime, trainer.device):
            output = training_losses(trainer.model, trainer.teacher, trainer.normalise, batch, phase)
        output.loss.backward()
        gradient = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.load_state_dict(state)
    return output.parts, gradient


@pytest.mark.parametrize("name", PhaseName)
@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION])
def test_a_step_in_bf16_is_near_single_precision_and_keeps_its_weights_in_it(trainer, task, name):
    phase = next(phase for phase in trainer.plan.phases if phase.key.task is task and phase.name is name)
    (single, gradient), (half, low_gradient) = (losses_of(trainer, phase, chosen) for chosen in ("fp32", "bf16"))
    assert half.keys() == single.keys()
    assert any(not torch.equal(half[part], single[part]) for part in half), "nothing was computed in bf16"
    assert half["total"].dtype == torch.float32
    assert half["total"].item() == pytest.approx(single["total"].item(), rel=NEAR)
    assert low_gradient.keys() == gradient.keys()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in low_gradient.values())
    norms = [torch.nn.utils.get_total_norm(list(result.values())).item() for result in (gradient, low_gradient)]
    assert norms[1] == pytest.approx(norms[0], rel=4 * NEAR)


@pytest.mark.parametrize("name", ["adam", "lamps"])
def test_self_supervision_in_bf16_is_near_single_precision(phantoms, tmp_path, name):
    config = tiny_selfsup(name, model__backbone__drop_path_rate=0.0)
    data_module = open_datasets(config, phantoms)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    trainer = Trainer(config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), tmp_path)
    result = {chosen: losses_of(trainer, plan.phases[0], chosen) for chosen in ("fp32", "bf16")}
    assert result["bf16"][0]["total"].item() == pytest.approx(result["fp32"][0]["total"].item(), rel=NEAR)
    assert all(value.isfinite().all() for value in result["bf16"][1].values())


def test_the_optimizers_groups_are_merged(trainer):
    groups = trainer.optimizer.param_groups
    kinds = [(group["base_lr"], group["weight_decay"]) for group in groups]
    assert len(set(kinds)) == len(kinds) == 2, "one learning rate, with and without decay"
    assert len([p for group in groups for p in group["params"]]) == len(list(trainer.model.parameters()))


def test_activations_are_stored_by_default(trainer):
    asked = [module.with_cp for module in trainer.model.modules() if hasattr(module, "with_cp")]
    assert asked and not any(asked)
