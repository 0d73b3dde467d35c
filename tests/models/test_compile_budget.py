"""What is compiled over whole cycles: nothing twice, never more than planned, and with the numbers of a plain run."""

import copy
import math
import pickle
from collections import Counter
from dataclasses import fields

import pytest
import torch
import torch._dynamo as dynamo
from torch import nn

from foundationx.apps.run.compile import compile_trainer, graphs_needed
from foundationx.core.config.load import load_config
from foundationx.core.errors import CompileError, ConfigError
from foundationx.core.types import Split, Task
from foundationx.data.datamodule import open_datasets
from foundationx.engine.hooks import Hook
from foundationx.evaluation.evaluator import evaluate
from foundationx.models.compile import (
    check_backend,
    compile_errors,
    compile_parts,
    eager_mode,
    is_compiled,
    parts_of,
    predict_full,
)
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG, Onlooker, equal, tiny_trainer

pytestmark = pytest.mark.slow

DATASETS = [{"card": f"phantom_{name}"} for name in ("labels", "boxes", "masks", "all")]
TASKS = (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)
"""Two heads a task."""

OPTIONS = {
    "datasets": DATASETS,
    "runtime__batch_size": 2,
    "runtime__eval_batch_size": 3,
    "schedule__max_steps": 2,
    "optimizer__type": "sgd",  # AdamW makes much of the rounding of small gradients
}


@pytest.fixture(autouse=True)
def fresh_compiler():
    """Neither graphs nor limits of other tests."""
    names = ("recompile_limit", "accumulated_recompile_limit", "fail_on_recompile_limit_hit")
    dynamo.reset()
    with dynamo.config.patch({name: getattr(dynamo.config, name) for name in names}):
        yield
    dynamo.reset()


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, {entry["card"]: 20 for entry in DATASETS}, size=64, processes=1)
    return folder


class Counting:
    """A backend that compiles nothing and notes the shape of each graph's images or features."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)][:1])
        return graph.forward


class Evaluating(Hook):
    """Evaluates student and teacher at the end of each cycle; notes how many graphs there are then."""

    def __init__(self, trainer, data_module, backend):
        self.trainer, self.data_module, self.backend, self.counts, self.rows = trainer, data_module, backend, [], []

    def on_cycle_end(self, phase):
        models = {"student": self.trainer.model, "teacher": self.trainer.teacher.model}
        self.rows += evaluate(self.data_module, models, Split.VAL, phase.visit).rows
        self.counts.append(len(self.backend.graphs))


def cycles(phantoms, folder, backend, **options):
    """Two cycles with evaluation; the trainer and what was seen."""
    options = OPTIONS | options
    config = load_config(CONFIG, {name.replace("__", "."): value for name, value in options.items()})
    watch = Onlooker()
    trainer = tiny_trainer(phantoms, folder, [watch], **options)
    data_module = open_datasets(config, phantoms)
    evaluating = Evaluating(trainer, data_module, backend if isinstance(backend, Counting) else Counting())
    trainer.hooks.append(evaluating)
    if backend is not None:
        compile_trainer(trainer, trainer.plan, backend)
    assert trainer.train()
    return trainer, watch, evaluating


@pytest.mark.slow
def test_a_second_cycle_compiles_nothing_and_nothing_else_changes(phantoms, tmp_path):
    """Lock, release, teacher and evaluation of two heads a task, beside the same run uncompiled."""
    backend = Counting()
    compiled, losses, seen = cycles(phantoms, tmp_path / "compiled", backend)
    first, second = seen.counts
    assert second == first, "the second cycle compiled anew"
    needed = graphs_needed(compiled.config, compiled.model, compiled.plan)
    assert set(needed) == set(parts_of(compiled.model)) == {"backbone", "trunks.detection", "trunks.segmentation"}
    # With a graph; without one for batches of 2 in lock phases (and by the teacher), and for evaluated batches of 3.
    batches = Counter(shapes[0] for shapes in backend.graphs if len(shapes[0]) == 4)
    assert {shape[0] for shape in batches} == {2, 3}, "the last batch of an evaluation was not filled up"
    assert len(needed) * 3 <= first <= sum(needed.values())
    plain, plain_losses, plain_seen = cycles(phantoms, tmp_path / "plain", None)
    assert len(losses.records) == plain.plan.total_steps
    for (step, parts, _), (plain_step, plain_parts, _) in zip(losses.records, plain_losses.records, strict=True):
        assert step == plain_step and parts == pytest.approx(plain_parts, rel=1e-6, abs=1e-7)
    for one, other in ((compiled.model, plain.model), (compiled.teacher.model, plain.teacher.model)):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-5)
    values = [[math.nan if row.value is None else row.value for row in rows] for rows in (seen.rows, plain_seen.rows)]
    assert values[0] == pytest.approx(values[1], rel=1e-5, nan_ok=True)


@pytest.fixture(scope="module")
def small(phantoms, tmp_path_factory):
    """An untrained trainer."""
    return tiny_trainer(phantoms, tmp_path_factory.mktemp("small"), **OPTIONS | {"datasets": DATASETS[:3]})


@pytest.fixture
def model(small):
    """A copy of its model; copies are not compiled."""
    return copy.deepcopy(small.model)


def test_names_copies_and_what_is_saved_do_not_change(model):
    before = model.state_dict()
    compile_parts(model, Counting(), 8)
    assert all(is_compiled(part) for part in parts_of(model).values())
    assert equal(dict(model.state_dict()), dict(before))
    assert not any(is_compiled(part) for part in parts_of(copy.deepcopy(model)).values())
    assert not is_compiled(pickle.loads(pickle.dumps(model)).backbone)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_gradients_through_a_traced_backward_pass_are_equal(model, task):
    """In double precision; drop path draws the same numbers. What is not used has no gradient, not one of zero."""
    plain, images = copy.deepcopy(model).double().train(), torch.randn(2, 3, 64, 64).double()
    model.double().train()
    compile_parts(model, "aot_eager", 8)
    key = next(key for key in model.classes if key.task is task)
    for one in (model, plain):
        torch.manual_seed(0)
        output = one.trunk(images, key)
        (output.memory if task is Task.DETECTION else output).square().mean().backward()
    named = dict(plain.named_parameters())
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, parameter in named.items() if parameter.grad is not None}
    assert any(name.startswith("backbone") for name in reached) and "backbone.net.norm3.weight" in reached
    assert ("backbone.net.norm0.weight" in reached) == (task is Task.SEGMENTATION)
    for name, parameter in model.named_parameters():
        if name in reached:
            torch.testing.assert_close(parameter.grad, named[name].grad, rtol=1e-6, atol=1e-6, msg=name)


class Scaled(nn.Module):
    """A part that is compiled in no time."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, values):
        return values * self.weight


class Parts(nn.Module):
    """A backbone and no trunk."""

    def __init__(self):
        super().__init__()
        self.backbone, self.trunks = Scaled(), nn.ModuleDict()


def test_what_is_frozen_is_one_graph_whatever_is_marked_as_trained_above_it():
    parts, backend, values = Parts(), Counting(), torch.ones(2)
    compile_parts(parts, backend, 8)
    parts.requires_grad_(False)
    with torch.no_grad():
        assert not parts.backbone(values).requires_grad
        parts.backbone(values)
    assert len(backend.graphs) == 1
    parts.requires_grad_(True)
    assert parts.backbone(values).requires_grad
    assert len(backend.graphs) == 2
    parts.requires_grad_(False)
    assert parts.backbone(values.clone().requires_grad_()).requires_grad, "something is trained below it"


def test_all_lock_phases_share_one_graph_of_the_backbone(phantoms, tmp_path):
    """Their trunk's output has no graph; it makes no difference which head above it is trained."""
    trainer = tiny_trainer(phantoms, tmp_path, **OPTIONS | {"schedule__lock__classification": 1.0})
    backend, tasks = Counting(), set()
    compile_parts(trainer.model, backend, 8)
    for phase in [phase for phase in trainer.plan.phases if phase.is_head_only]:
        batch = next(iter(trainer.batches(phase.first_step)))
        with lock(trainer.model, phase.trainable):
            _, output = trainer.features.of_step(phase, phase.first_step, lambda batch=batch: batch)
        assert not (output.memory if phase.key.task is Task.DETECTION else output).requires_grad
        tasks.add(phase.key.task)
    assert tasks == set(TASKS)
    assert sum(shapes[0] == (2, 3, 64, 64) for shapes in backend.graphs) == 1 < len(backend.graphs)


def test_more_graphs_than_planned_are_an_error_and_not_a_slow_run():
    parts, backend = Parts(), Counting()
    with dynamo.config.patch(recompile_limit=1):
        compile_parts(parts, backend, 2)
        for size in (1, 2, 1, 2):
            parts.backbone(torch.ones(size))
        with pytest.raises(CompileError, match="one graph more than the 2 that the plan needs"), compile_errors():
            parts.backbone(torch.ones(3))
        with eager_mode(parts):
            assert torch.equal(parts.backbone(torch.ones(3)), torch.ones(3))
    assert len(backend.graphs) == 2


@pytest.mark.parametrize("task", TASKS)
def test_a_filled_up_batch_predicts_as_it_is(model, task):
    key = next(key for key in model.classes if key.task is task)
    images = torch.randn(2, 3, 64, 64)
    model.eval().requires_grad_(False)
    plain = model.predict(images, key)
    compile_parts(model, "eager", 8)
    seen = []
    model.backbone.register_forward_pre_hook(lambda part, values: seen.append(len(values[0])))
    with eager_mode(model):
        filled = predict_full(model, images, key, 5)
    assert seen == [5]
    for item in fields(plain):
        expected, result = getattr(plain, item.name), getattr(filled, item.name)
        assert (result is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_a_backend_that_cannot_compile_is_reported_before_training(small):
    def broken(graph, inputs):
        raise RuntimeError("no compiler was found")

    with pytest.raises(ConfigError, match="no compiler was found"):
        compile_trainer(small, small.plan, broken)
    assert not is_compiled(small.model.backbone)
    check_backend("eager", torch.device("cpu"))
