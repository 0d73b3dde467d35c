"""What a changed configuration does to a run that is resumed: every key takes effect, is refused, or changes nothing.

:data:`RULES` is the one table: :func:`changes` and ``docs/resilience.md`` read it, and a test walks every key of the
configuration through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.strict_json import to_json


class Resume(StrEnum):
    """What training does about a run that its work directory holds already."""

    AUTO = "auto"
    """Goes on with the very same run; one of another configuration is refused by name of key."""
    CHANGED = "changed"
    """Goes on, with the changed keys that may change from here on."""
    NEVER = "never"
    """Refuses a folder that holds a run."""


class Effect(Enum):
    """What ``--resume`` about a key that differs from the checkpoint's."""

    TAKEN = "takes effect from the step that the run goes on from; a row of `incidents.jsonl` records it"
    REFUSED = "refused by name"
    NONE = "no effect on what is learned; the new value holds"


@dataclass(frozen=True)
class Rule:
    """What a changed key does.

    Attributes:
        effect: Class of the key.
        why: What is affected, or why the key is refused.
    """

    effect: Effect
    why: str


@dataclass(frozen=True)
class Change:
    """A key whose value differs from the checkpoint's.

    Attributes:
        key: Key of :data:`RULES`.
        before: Value in the checkpoint, as JSON has it.
        now: Value in the configuration, as JSON has it.
    """

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {to_json(self.before)} -> {to_json(self.now)}"


_RATE = Rule(Effect.TAKEN, "learning rate of every step from here on")
_STEP = Rule(Effect.TAKEN, "every optimizer step from here on; the moments stay")
_NETWORK = Rule(Effect.REFUSED, "the weights belong to this network and its input")
_DATA = Rule(Effect.REFUSED, "it decides which images are trained on, and test images must stay unseen")
_PLAN = Rule(Effect.REFUSED, "the plan of a begun run is fixed")
_EVALUATION = Rule(Effect.NONE, "evaluation and what is stored of it")
_READING = Rule(Effect.NONE, "speed and memory")
_KEEPING = Rule(Effect.NONE, "what is written, and how often")
_ROUNDING = Rule(Effect.TAKEN, "rounding of every step from here on")

RULES: dict[str, Rule] = {
    "name": Rule(Effect.NONE, "name of the run"),
    "image_size": _NETWORK,
    "model": _NETWORK,
    "model.detection.suppression": Rule(Effect.TAKEN, "predicted boxes, also those that gate features or fill"),
    "datasets": _DATA,
    "schedule": _PLAN,
    "federation": _PLAN,
    "split.train": _DATA,
    "split.val": _DATA,
    "split.test": _DATA,
    "split.seed": _DATA,
    "split.file": _DATA,
    "split.record": _DATA,
    "split.changes": Rule(Effect.TAKEN, "patients whose split has changed since the run began"),
    "exclude": _DATA,
    "allow_test": _DATA,
    "views": Rule(Effect.TAKEN, "augmentation of every batch from here on"),
    "teacher": Rule(Effect.TAKEN, "updates of the teacher from here on"),
    "consistency": Rule(Effect.TAKEN, "weight of the consistency loss from here on"),
    "filling": Rule(Effect.REFUSED, "the plan of a begun run says which heads each visit trains"),
    "optimizer.type": Rule(Effect.REFUSED, "the optimizer's state belongs to its type"),
    "optimizer.lr": _RATE,
    "optimizer.weight_decay": _STEP,
    "optimizer.betas": _STEP,
    "optimizer.momentum": _STEP,
    "optimizer.lr_scale": _RATE,
    "optimizer.layer_decay": _RATE,
    "optimizer.decay_norms_and_biases": _STEP,
    "optimizer.fused": _ROUNDING,
    "optimizer.sharded": _READING,
    "optimizer.warmup": _RATE,
    "optimizer.curve": _RATE,
    "optimizer.every_cycle": _RATE,
    "optimizer.clip_norm": _STEP,
    "optimizer.accumulate": _STEP,
    "evaluate": _EVALUATION,
    "runtime.batch_size": _PLAN,
    "runtime.eval_batch_size": _READING,
    "runtime.workers": _READING,
    "runtime.cache": _READING,
    "runtime.cache_gb": _READING,
    "runtime.precision": _ROUNDING,
    "runtime.gradients": _ROUNDING,
    "runtime.compile": _ROUNDING,
    "runtime.cuda": _ROUNDING,
    "runtime.device": Rule(Effect.NONE, "another kind of device rounds otherwise"),
    "runtime.seed": _PLAN,
    "runtime.log_every": _KEEPING,
    "runtime.keep_checkpoints": _KEEPING,
    "runtime.checkpoint_every": _KEEPING,
    "runtime.checkpoint_minutes": _KEEPING,
    "runtime.bad_steps": Rule(Effect.TAKEN, "when a run whose losses are not finite ends"),
    "runtime.trackers": _KEEPING,
    "runtime.on_bad_sample": Rule(Effect.TAKEN, "images that cannot be used, from here on"),
}
"""What a change does, by key or by section (then for every key in it)."""


def rule_of(key: str) -> Rule:
    """The rule of a key: its own, or that of the section it is in. Raises KeyError if it has none."""
    parts = key.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    for name in names:
        if name in RULES:
            return RULES[name]
    raise KeyError(key)


def changes(before: RunConfig, now: RunConfig) -> list[Change]:
    """What differs between two configurations, each key in the finest form in which both have it.

    Args:
        before: Configuration of the checkpoint.
        now: Configuration of the run that goes on.
    """
    return list(_differences("", before.model_dump(mode="json"), now.model_dump(mode="json")))


def taken_changes(
    before: RunConfig,
    now: RunConfig,
    where: str,
    *,
    resume: Resume = Resume.CHANGED,
    more_cycles: bool = False,
    go_on: str | None = None,
) -> list[Change]:
    """The changes that take effect from here on.

    Args:
        before: Configuration of the checkpoint.
        now: Configuration of the run that goes on.
        where: Work directory, for the error.
        resume: ``auto`` takes no change that has an effect on what is learned.
        more_cycles: Whether a finished run is to have more cycles than before.
        go_on: Command that goes on with the run as it is, for the error.

    Raises:
        CheckpointError: A key differs that a begun run cannot change, or cannot unless that is asked for.
    """
    found = changes(before, now)
    allowed = {"schedule.cycles"} if more_cycles and now.schedule.cycles > before.schedule.cycles else set()
    taken = [change for change in found if change.key in allowed or _effect(change) is Effect.TAKEN]
    refused = [change for change in found if change not in taken and _effect(change) is Effect.REFUSED]
    unasked = [change for change in taken if change.key not in allowed] if resume is Resume.AUTO else []
    if not refused and not unasked:
        return taken
    reasons = dict.fromkeys(rule_of(change.key).why for change in refused)
    expected = f"the same values ({'; '.join(reasons)})" if refused else "the same values, or --resume changed"
    text = f"the configuration differs from the checkpoint's in {'; '.join(map(str, [*refused, *unasked]))}"
    own = go_on or f"resume with the run's own configuration, {where}/config.json"
    ways = [f"to go on with the run's own configuration: {own}" if go_on else own]
    if not refused:
        ways.append("to go on with the change from here: the same command with --resume changed")
    if [change.key for change in refused] == ["schedule.cycles"] and now.schedule.cycles > before.schedule.cycles:
        more = now.schedule.cycles - before.schedule.cycles
        ways.append(f"to train a finished run further: --more-cycles {more} with the configuration as it was")
    raise CheckpointError(where, text, expected, "; ".join([*ways, "or choose another --work-dir"]))


def _effect(change: Change) -> Effect:
    return rule_of(change.key).effect


def _differences(prefix: str, before: Any, now: Any) -> list[Change]:
    """Changes below a key; mappings are opened."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for name in dict.fromkeys([*before, *now]):
            key = f"{prefix}.{name}" if prefix else str(name)
            found += _differences(key, before.get(name), now.get(name))
        return found
    return [] if before == now else [Change(prefix, before, now)]


def resume_table(keys: list[str]) -> str:
    """The table of ``docs/resilience.md``: every key of the configuration, by effect and reason.

    Args:
        keys: Every key of the configuration, in its order.
    """
    grouped: dict[Rule, list[str]] = {}
    for key in keys:
        grouped.setdefault(rule_of(key), []).append(f"`{key}`")
    lines = ["| on `--resume`, a changed value | what for | keys |", "|---|---|---|"]
    for effect in Effect:
        for rule, names in grouped.items():
            if rule.effect is effect:
                lines.append(f"| {effect.value} | {rule.why} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"
