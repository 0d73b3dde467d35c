"""What a run compiles, and how often its plan can need it."""

from __future__ import annotations

from foundationx.core.config.run import RunConfig
from foundationx.engine.schedule.plan import Plan
from foundationx.engine.trainer import Trainer
from foundationx.models.compile import Backend, check_backend, compile_parts, parts_of
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_prefixes


def compile_trainer(trainer: Trainer, plan: Plan, backend: Backend | None = None) -> None:
    """Compiles student and teacher by ``runtime.compile``; nothing if that is None.

    Args:
        trainer: Trainer of the run.
        plan: Plan whose phases are counted.
        backend: Backend in place of the configured one.

    Raises:
        ConfigError: The backend does not work here.
    """
    backend = backend or trainer.config.runtime.compile
    if backend is None:
        return
    check_backend(backend, trainer.device)
    limit = max(graphs_needed(trainer.config, trainer.model, plan).values())
    for model in (trainer.model, trainer.teacher.model):
        compile_parts(model, backend, limit)


def graphs_needed(config: RunConfig, model: FoundationModel, plan: Plan) -> dict[str, int]:
    """How often each part may be compiled, student's and teacher's uses together.

    Once for each task and each set of its parameters that some phase trains, with a graph. And without: for batches of
    training and of evaluation (which differ in size or precision), once for the student and once for the teacher.
    """
    prefixes = group_prefixes(model)
    batches = 2 if (config.evaluate.every or config.evaluate.final) else 1
    phases = [phase for phase in plan.phases if phase.key.task.facts.has_fixed_shape and not phase.is_head_only]
    needed = {}
    for part in parts_of(model):
        own = {group for prefix, group in prefixes.items() if prefix == part or prefix.startswith(f"{part}.")}
        users = [phase for phase in phases if part in ("backbone", f"trunks.{phase.key.task.value}")]
        with_graph = {(phase.key.task, frozenset(own & set(phase.trainable))) for phase in users}
        needed[part] = len(with_graph) + 2 * batches
    return needed
