"""A run that is resumed with another configuration: each key takes effect, is refused, or changes no weight."""

import runpy
from pathlib import Path

import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.run.train import resume_newest
from foundationx.core.config.describe import keys_of
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, DivergenceError
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint
from foundationx.engine.resume import RULES, Effect, rule_of
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG, Onlooker, equal, tiny_trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HALF = 3
SHORT = {
    "datasets": [{"card": "phantom_labels"}],
    "schedule__cycles": 2,
    "schedule__max_steps": 6,
    "runtime__batch_size": 2,
    "runtime__checkpoint_every": HALF,
    "runtime__keep_checkpoints": 9,
    "runtime__log_every": 2,
}
KEYS = list(keys_of(RunConfig))

TAKEN = {
    "views.classification.geometry.hflip": 1.0,
    "teacher.momentum": 0.1,
    "teacher.update": "step",
    "consistency.weight": 0.9,
    "consistency.only_if_better": True,
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.0,
    "optimizer.betas": (0.5, 0.9),
    "optimizer.lr_scale": {"backbone": 0.1},
    "optimizer.layer_decay": 0.5,
    "optimizer.decay_norms_and_biases": True,
    "optimizer.warmup": 0.9,
    "optimizer.curve": {"type": "linear", "start": 0.5, "end": 0.5},
    "optimizer.every_cycle": True,
    "optimizer.clip_norm": 0.01,
    "optimizer.accumulate": 2,
    "optimizer.fused": True,
    "runtime.precision": "bf16",
}
"""Changes that change the weights."""

CHANGES_NO_WEIGHT_HERE = {
    "model.detection.suppression": 0.7,
    "optimizer.momentum": 0.5,
    "split.changes": "keep",
    "runtime.compile": "eager",
    "runtime.cuda.tf32": False,
    "runtime.cuda.cudnn_benchmark": True,
    "runtime.gradients": "bf16",
    "runtime.bad_steps": 7,
    "runtime.on_bad_sample": "skip",
}
"""Keys that take effect and of which this run has no use: AdamW, one process, good images, finite losses, no boxes."""

REFUSED = {
    "image_size": 96,
    "model.mean": (0.5, 0.5, 0.5),
    "datasets": [{"card": "phantom_labels", "limit": 6}],
    "schedule.lock.classification": 0.25,
    **{f"split.{name}": {"train": 0.6, "val": 0.2, "test": 0.2} for name in ("train", "val", "test")},
    "split.seed": 5,
    "split.file": "list.csv",
    "split.record": "run",
    "exclude": "list.csv",
    "filling": {},
    "allow_test": ("phantom_labels",),
    "optimizer.type": "sgd",
    "runtime.batch_size": 3,
    "runtime.seed": 3,
}

NOTHING = {
    "name": "other",
    "optimizer.sharded": True,
    "evaluate.every": 3,
    "evaluate.first": 3,
    "evaluate.during": "train",
    "evaluate.final": ("train",),
    "evaluate.models": ("student",),
    "evaluate.best": {"classification": "AUPRC"},
    "evaluate.examples": 0,
    "evaluate.predictions": False,
    "runtime.eval_batch_size": 3,
    "runtime.workers": 1,
    "runtime.cache": "cache",
    "runtime.cache_gb": 1.0,
    "runtime.device": "cpu",
    "runtime.log_every": 3,
    "runtime.keep_checkpoints": 1,
    "runtime.checkpoint_every": 2,
    "runtime.checkpoint_minutes": None,
    "runtime.trackers": ("tensorboard",),
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 20, size=64, processes=1)
    return folder


@pytest.fixture(scope="module")
def begun(phantoms, tmp_path_factory):
    """A checkpoint from the middle of a release phase, and the end of the run that went on from it unchanged."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = tiny_trainer(phantoms, folder, **SHORT)
    assert trainer.train()
    middle = checkpoints_in(folder)[0]
    assert middle.name == f"step_{HALF:08d}.pt"
    return middle, weights(trainer)


def weights(trainer):
    return {"student": trainer.model.state_dict(), "teacher": trainer.teacher.model.state_dict()}


def resumed(phantoms, folder, middle, key, value):
    """A trainer that has gone on from a copy of the checkpoint with one changed key, and the incidents it reports."""
    (folder / middle.name).write_bytes(middle.read_bytes())
    trainer = tiny_trainer(phantoms, folder, **SHORT | {key: value})
    return trainer, resume_newest(trainer, WorkDir(folder))


def test_every_key_of_the_configuration_has_a_rule_and_every_rule_a_key():
    assert len(KEYS) == len(set(KEYS)) > 100
    for key in KEYS:
        rule_of(key)  # KeyError: sort it into RULES
    unused = [name for name in RULES if not any(key == name or key.startswith(f"{name}.") for key in KEYS)]
    assert not unused
    nested = [(one, other) for one in RULES for other in RULES if other.startswith(f"{one}.")]
    assert all(RULES[one].effect is not RULES[other].effect for one, other in nested), "the section's rule is enough"


def test_a_key_without_a_rule_is_found():
    with pytest.raises(KeyError, match=r"runtime\.unheard_of"):
        rule_of("runtime.unheard_of")


def test_every_rule_is_tried_below():
    tried = {**TAKEN, **CHANGES_NO_WEIGHT_HERE, **REFUSED, **NOTHING}
    effects = {
        Effect.TAKEN: {**TAKEN, **CHANGES_NO_WEIGHT_HERE},
        Effect.REFUSED: REFUSED,
        Effect.NONE: NOTHING,
    }
    for effect, keys in effects.items():
        assert all(rule_of(key).effect is effect for key in keys), effect
    untried = [name for name in RULES if not any(f"{key}.".startswith(f"{name}.") for key in tried)]
    assert untried == ["federation"], "it needs another schedule, which is refused with it"
    leaves = [key for key in KEYS if rule_of(key).effect is not Effect.REFUSED and not key.startswith("views.")]
    sections = {key.rsplit(".", 1)[0] for key in leaves if key.endswith((".type", ".start", ".end"))}
    assert {key for key in leaves if key.rsplit(".", 1)[0] not in sections} | sections == {
        key for key in {**TAKEN, **CHANGES_NO_WEIGHT_HERE, **NOTHING} if not key.startswith("views.")
    }


def test_the_page_shows_the_table():
    script = runpy.run_path(str(ROOT / "tools/resume_table.py"))
    below = (ROOT / "docs/resilience.md").read_text().partition(script["MARK"])[2]
    assert below.strip() == script["table"]().strip(), "run: python tools/resume_table.py"
    assert all(f"`{key}`" in below for key in KEYS)


@pytest.mark.parametrize("key", TAKEN)
def test_a_key_that_is_taken_changes_the_weights_and_is_reported(phantoms, begun, tmp_path, key):
    middle, unchanged = begun
    trainer, incidents = resumed(phantoms, tmp_path, middle, key, TAKEN[key])
    assert incidents and all(incident.kind == "changed" and incident.step == HALF for incident in incidents)
    assert all(str(incident).startswith(f"step {HALF}: {key}") for incident in incidents)
    assert all(incident.message.endswith(f"from step {HALF} on") for incident in incidents)
    assert trainer.train()
    assert not equal(weights(trainer), unchanged)


@pytest.mark.parametrize("key", CHANGES_NO_WEIGHT_HERE)
def test_a_key_that_is_taken_is_reported_though_nothing_comes_of_it(phantoms, begun, tmp_path, key):
    trainer, (incident,) = resumed(phantoms, tmp_path, begun[0], key, CHANGES_NO_WEIGHT_HERE[key])
    assert incident.kind == "changed" and incident.message.startswith(f"{key}: ")
    if key == "runtime.bad_steps":
        assert trainer.nonfinite.limit == 7


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_is_refused_is_named_and_nothing_is_touched(phantoms, begun, tmp_path, key):
    is_file, value = key in ("exclude", "split.file", "split.record"), REFUSED[key]
    is_shares = key in ("split.train", "split.val", "split.test")
    changes = {f"split.{name}": share for name, share in value.items()} if is_shares else {key: value}
    trainer = tiny_trainer(phantoms, tmp_path, **SHORT | ({} if is_file else changes))
    if is_file:
        values, name = trainer.config.model_dump(), key.rpartition(".")[2]
        (values["split"] if "." in key else values)[name] = tmp_path / value
        trainer.config = RunConfig.model_validate(values)
    (tmp_path / begun[0].name).write_bytes(begun[0].read_bytes())
    before = weights(trainer)
    with pytest.raises(CheckpointError, match=rf"differs from the checkpoint's in [^$]*{key}[^$]*config\.json"):
        resume_newest(trainer, WorkDir(tmp_path))
    assert equal(weights(trainer), before) and trainer.step == 0


@pytest.mark.parametrize("key", NOTHING)
def test_a_key_without_effect_on_learning_changes_no_bit(phantoms, begun, tmp_path, key):
    value = str(tmp_path / "cache") if key == "runtime.cache" else NOTHING[key]
    trainer, incidents = resumed(phantoms, tmp_path, begun[0], key, value)
    assert incidents == []
    assert trainer.train()
    assert equal(weights(trainer), begun[1])


def by_name(model, optimizer):
    """State of the optimizer by name of the parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: state for parameter, state in optimizer.state.items()}


@pytest.mark.parametrize("key", ["optimizer.weight_decay", "optimizer.lr_scale", "optimizer.betas"])
def test_moments_stay_with_their_parameters_though_the_groups_are_others(phantoms, begun, tmp_path, key):
    plain, _ = resumed(phantoms, tmp_path, begun[0], "runtime.log_every", 2)
    changed, _ = resumed(phantoms, tmp_path, begun[0], key, TAKEN[key])
    one, other = by_name(plain.model, plain.optimizer), by_name(changed.model, changed.optimizer)
    assert one.keys() == other.keys() and len(one) > 10
    assert all(torch.equal(one[name][part], other[name][part]) for name in one for part in one[name])
    groups = [len(trainer.optimizer.param_groups) for trainer in (plain, changed)]
    assert {"optimizer.weight_decay": [2, 1], "optimizer.lr_scale": [2, 4], "optimizer.betas": [2, 2]}[key] == groups
    if key == "optimizer.betas":
        assert {group["betas"] for group in changed.optimizer.param_groups} == {(0.5, 0.9)}


def test_the_log_and_the_optimizer_have_the_new_rate(phantoms, begun, tmp_path):
    trainer, (incident,) = resumed(phantoms, tmp_path, begun[0], "optimizer.lr", 1e-6)
    assert incident.message == "optimizer.lr: 0.0001 -> 1e-06 from step 3 on"
    assert {group["base_lr"] for group in trainer.optimizer.param_groups} == {1e-6}
    assert trainer.train()
    assert load_checkpoint(tmp_path).config.optimizer.lr == 1e-6, "later checkpoints name it"


def test_what_the_error_of_a_diverged_run_advises_works(phantoms, tmp_path):
    """A rate that drives the loss to infinity ends the run; with a lower one `--resume` goes on with finite losses."""
    folder = tmp_path / "run"

    def diverges(trainer):
        def spoil(module, inputs):
            return (inputs[0] * float("nan"),) if trainer.config.optimizer.lr > 0.5 and trainer.step >= HALF else None

        trainer.model.backbone.register_forward_pre_hook(spoil)
        return trainer

    trainer = diverges(tiny_trainer(phantoms, folder, **SHORT | {"optimizer.lr": 1.0}))
    with pytest.raises(DivergenceError, match=r"fix: lower optimizer\.lr or optimizer\.clip_norm[^$]*--resume"):
        trainer.train()
    onlooker = Onlooker()
    again = diverges(tiny_trainer(phantoms, folder, [onlooker], **SHORT | {"optimizer.lr": 1e-4}))
    (incident,) = resume_newest(again, WorkDir(folder))
    assert incident.message == f"optimizer.lr: 1.0 -> 0.0001 from step {again.step} on"
    assert again.train() and onlooker.records
    assert {group["base_lr"] for group in again.optimizer.param_groups} == {1e-4}


def test_the_command_logs_a_change_and_the_stored_configuration_resumes(phantoms, tmp_path, capsys):
    """`--resume` with another rate, then with the work directory's config.json as the message advises."""
    folder, stored = tmp_path / "run", tmp_path / "run" / "config.json"
    config = tmp_path / "one.py"
    config.write_text(f"_base_ = [{str(CONFIG)!r}]\ndatasets = [dict(card='phantom_labels')]\n")
    options = ["schedule.max_steps=4", "evaluate.final=[]", "evaluate.every=0"]
    start = ["--data-root", str(phantoms), "--work-dir", str(folder)]
    assert main(["train", str(config), *start, "--cfg-options", *options, "runtime.checkpoint_every=2"]) == 0
    for path in checkpoints_in(folder)[1:]:
        path.unlink()
    step = load_checkpoint(folder).step
    changed = [*options, "runtime.checkpoint_every=2", "optimizer.lr=1e-5"]
    assert main(["train", str(config), *start, "--resume", "--cfg-options", *changed]) == 0
    assert f"optimizer.lr: 0.0001 -> 1e-05 from step {step} on" in capsys.readouterr().out
    (row,) = [row for row in WorkDir(folder).read_incidents() if row["kind"] == "changed"]
    assert row["step"] == step
    rates = [row["lr"] for row in WorkDir(folder).read_log() if row["step"] > step]
    assert rates and max(rates) <= 1e-5
    assert main(["train", str(config), *start, "--resume", "--cfg-options", *options, "schedule.cycles=3"]) == 2
    assert str(stored) in capsys.readouterr().err
    assert main(["train", str(stored), *start, "--resume"]) == 0
    assert load_config(stored).optimizer.lr == 1e-5
