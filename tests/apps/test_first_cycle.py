"""Each preset's first cycle beside a slow, plain transcription of the method: one loop, one tensor at a time.

Shared with the package are the network's forward pass, the detection loss (held against mmdet's elsewhere) and which
images a step sees. Order, phases, what is trained, losses, optimizer, learning rate and teacher are written here from
docs/methods/foundation_x.md, "2 Training cycle" and "3 Losses and optimisation" and docs/methods/ark.md,
"2 Cyclic pretraining".
"""

import copy
import functools
import math
from pathlib import Path

import pytest
import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.types import Split, Task
from foundationx.data.datamodule import open_datasets
from foundationx.data.normalise import Normaliser
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from foundationx.phantoms.write import write_phantom_datasets

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = {
    "model.backbone": {
        "type": "mmdet.SwinTransformer",
        "embed_dims": 8,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 2, 2),
        "window_size": 4,
        "drop_path_rate": 0.0,  # random; what it draws depends on the order of all draws before it
        "out_indices": (0, 1, 2, 3),
    },
    "image_size": 64,
    "model.segmentation.channels": 8,
    "model.segmentation.dropout": 0.0,
    "runtime.batch_size": 4,
    "runtime.workers": 0,
    "runtime.log_every": 1,
    "runtime.precision": "fp32",
    "runtime.device": "cpu",
    "schedule.cycles": 2,
    "split.train": 0.5,
    "split.val": 0.25,
    "split.test": 0.25,
}
DETECTION = {"embed_dims": 16, "num_heads": 2, "ffn_dims": 16, "encoder_layers": 1, "decoder_layers": 2, "queries": 8}
ALL = ("phantom_labels", "phantom_boxes", "phantom_masks")


def small(name, **changes):
    options = dict(SMALL) | changes
    if name.startswith("ark"):
        options["datasets"] = [{"card": "phantom_labels"}]
        options |= {
            "model.projector.features": 12,
            "model.softmax": ["phantom_labels/classification"] * ("plus" in name),
        }
    else:
        options["datasets"] = [{"card": card} for card in ALL]
        options |= {f"model.detection.{key}": value for key, value in DETECTION.items()} | {
            "model.detection.denoising": 0
        }
    return load_config(CONFIGS / f"{name}.py", options)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 16, size=64, seed=0)
    return folder


class Diary(Hook):
    """Losses of every step and the teacher after every phase."""

    def __init__(self):
        self.losses, self.teachers, self.trainer = [], [], None

    def on_log(self, record):
        self.losses.append(record.losses["total"])

    def on_visit_end(self, phase):
        self.teachers.append(copy.deepcopy(self.trainer.teacher.model.state_dict()))


def bce(logits, labels):
    """Mean over known entries, one by one."""
    entries = []
    for logit, label in zip(logits.flatten(), labels.flatten(), strict=True):
        if not math.isnan(label):
            p = 1 / (1 + torch.exp(-logit))
            entries.append(-(label * torch.log(p) + (1 - label) * torch.log(1 - p)))
    return sum(entries) / len(entries)


def task_loss(model, config, features, batch):
    key = batch.key
    if key.task is Task.DETECTION:
        return sum(model.head_loss(features, batch).values())
    outputs = model.head(key)(features, model.trunks[key.task.value], batch)
    if key.task is Task.CLASSIFICATION:
        if not config.model.softmax:
            return bce(outputs, batch.labels)
        known = [n for n, row in enumerate(batch.labels) if not row.isnan().any() and row.sum() > 0]
        if not known:
            return 0 * outputs.sum()
        shares = torch.stack([batch.labels[n] / batch.labels[n].sum() for n in known])
        rows = torch.stack([outputs[n] - outputs[n].exp().sum().log() for n in known])
        return -(shares * rows).sum() / len(known)
    logits = torch.nn.functional.interpolate(outputs, size=batch.masks.shape[-2:], mode="bilinear", align_corners=False)
    p, truth, known = logits.sigmoid(), (batch.masks == 1).float(), (batch.masks != 255).float()
    dices = []
    for k in range(p.shape[1]):
        overlap = (p[:, k] * truth[:, k] * known[:, k]).sum()
        total = ((p[:, k] + truth[:, k]) * known[:, k]).sum()
        if known[:, k].any():
            dices.append(1 - (2 * overlap + 1) / (total + 1))
    entropy = -(truth * p.log() + (1 - truth) * (1 - p).log()) * known
    return sum(dices) / len(dices) + entropy.sum() / known.sum()


def point(features):
    """Where student and teacher are compared (docs/methods/foundation_x.md, "2.4 Consistency loss";
    docs/methods/ark.md, "2.1 Algorithm")."""
    if not isinstance(features, torch.Tensor):
        return features.memory
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-12) if features.dim() == 4 else features


def is_trained(name, key, locked, shares_decoder):
    """docs/methods/foundation_x.md, "2.2 Lock and release": lock trains the dataset's head alone, release all that is
    in the graph."""
    head = name.startswith(f"heads.{key.dataset}__{key.task.value}.")
    if locked or head or not name.startswith(("backbone.", f"trunks.{key.task.value}.")):
        return head
    return True


def rate(config, name, done):
    """Linear warm-up, then half a cosine; backbone and classification heads of Foundation X at a tenth."""
    o = config.optimizer
    if done < o.warmup:
        factor = o.curve.start * done / o.warmup
    else:
        x = (done - o.warmup) / (1 - o.warmup)
        factor = o.curve.start + (o.curve.end - o.curve.start) * (1 - math.cos(math.pi * x)) / 2
    tenth = o.lr_scale and (name.startswith("backbone.") or "__classification" in name)
    return o.lr * factor * (0.1 if tenth else 1.0)


def schedule(config, sizes):
    """Visit, head, locked?, steps, consistency, momentum (None: the teacher stays)."""
    visits, total = 0, config.schedule.cycles * len(sizes)
    batch = config.runtime.batch_size
    for _ in range(config.schedule.cycles):
        for key, size in sizes.items():
            s, visits = visits, visits + 1
            lock, release = config.schedule.lock[key.task], config.schedule.release[key.task]
            one_pass = math.ceil(size / batch)
            if config.name.startswith("ark"):
                m = 1 - 0.1 * (1 + math.cos(math.pi * s / total)) / 2
                c = 0.25 * (1 - math.cos(math.pi * s / total))
            else:
                m, c = 0.8, 0.5
            if lock:
                yield visits, key, True, max(1, int(one_pass * lock)), 0.0, m
            yield visits, key, False, max(1, int(one_pass * release)), c, m


def plain_run(config, student, batches, sizes):
    """Losses of every step, teachers after every visit, and the student."""
    teacher = copy.deepcopy(student).eval()
    normalise = Normaliser(config.model, "cpu")
    groups = [{"params": [p], "name": n} for n, p in student.named_parameters()]
    if config.optimizer.type == "sgd":
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True, foreach=False)
    else:
        optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=1e-4, foreach=False)
    phases = list(schedule(config, sizes))
    total, step = sum(phase[3] for phase in phases), 0
    losses, teachers = [], []
    for position, (visit, key, locked, steps, c, m) in enumerate(phases):
        for name, module in student.named_modules():  # what is locked keeps its statistics
            module.training = is_trained(name + ".", key, locked, None) or name == ""
        for _ in range(steps):
            batch = next(batches)
            for name, parameter in student.named_parameters():
                parameter.requires_grad = is_trained(name, key, locked, None)
                parameter.grad = None
            features = student.trunk(normalise(batch.images), key)
            loss = task_loss(student, config, features, batch)
            if c > 0:
                with torch.no_grad():
                    target = teacher.trunk(normalise(batch.teacher_images), key)
                loss = (1 - c) * loss + c * ((point(features) - point(target)) ** 2).mean()
            loss.backward()
            losses.append(loss.item())
            grads = [p.grad for p in student.parameters() if p.grad is not None]
            if config.optimizer.clip_norm:
                norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads))
                for g in grads:
                    g.mul_(min(1.0, config.optimizer.clip_norm / (norm + 1e-6)))
            for group in optimizer.param_groups:
                group["lr"] = rate(config, group["name"], (step + 0.5) / total)
            optimizer.step()
            step += 1
        student.eval()
        updates = not config.name.startswith("ark") or not locked
        if updates:
            with torch.no_grad():
                for (_, t), s in zip(teacher.state_dict().items(), student.state_dict().values(), strict=True):
                    t.copy_(m * t + (1 - m) * s if t.is_floating_point() else s)
        if position + 1 == len(phases) or phases[position + 1][0] != visit:
            teachers.append(copy.deepcopy(teacher.state_dict()))
    return losses, teachers


@pytest.mark.parametrize(
    "name", ["ark/ark", "ark/ark_plus", "foundation_x/foundation_x", "foundation_x/foundation_x_plus"]
)
def test_two_cycles_equal_the_plain_transcription(name, phantoms, tmp_path):
    config = small(name)
    data_module = open_datasets(config, phantoms)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    plain = copy.deepcopy(model)
    loader = functools.partial(plan_loader, config, data_module, plan, "cpu")
    diary = Diary()
    diary.trainer = Trainer(config, model, plan, loader, tmp_path, [diary])
    assert diary.trainer.train()
    losses, teachers = plain_run(config, plain, iter(loader(0)), data_module.sizes(Split.TRAIN))
    assert diary.losses == pytest.approx(losses, abs=1e-5, rel=1e-4)
    assert len(diary.teachers) == len(teachers) > 1
    for ours, theirs in zip(diary.teachers, teachers, strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(
                ours[key], value, atol=1e-5, rtol=1e-4, msg=lambda text, key=key: f"{key}: {text}"
            )
    moved = [n for n, p in plain.named_parameters() if not torch.equal(p, dict(model.named_parameters())[n])]
    for n in moved:
        torch.testing.assert_close(
            dict(model.named_parameters())[n], dict(plain.named_parameters())[n], atol=1e-5, rtol=1e-3
        )
