"""Foundation X and X+ whole, against what the released networks gave for small files of their form."""

import dataclasses
import functools
import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from foundationx.core.config.model import RegionGateConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.detection import trunk as detection_trunk
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.segmentation.region_gate import gate_features
from foundationx.weights.imports.imported import assembled
from foundationx.weights.imports.released import convert, read_released
from foundationx.weights.imports.weight_file import pick_weights, read_file
from tests.helpers.published_size import published_size

pytestmark = pytest.mark.shared

DETECTORS = {
    **{"tbx11k": "TBX11K", "node21": "NODE21", "candid_ptx": "CANDID-PTX", "rsna_pneumonia": "RSNA"},
    **{"chestx_det": "ChestX-Det", "siim_acr": "SIIM-ACR"},
}
MASKS = {"candid_ptx": "CANDID-PTX", "chestx_det": "ChestX-Det", "siim_acr": "SIIM-ACR"}
EQUAL = 1e-4
"""Greatest difference as a share of the greatest value."""


@pytest.fixture(scope="module")
def folder(shared_data):
    folder = shared_data / "released"
    if not folder.is_dir():
        pytest.skip(f"files of released networks are absent: {folder}")
    return folder


@dataclasses.dataclass
class Golden:
    """A released file, the model that was read of it, and the released network's inputs and outputs."""

    released: object
    model: FoundationModel
    inputs: dict
    outputs: dict

    def image(self, task):
        """The task's input under the model's common normalisation."""
        own, config = self.model.config.normalisation[task], self.model.config
        values = (torch.tensor(value).view(1, 3, 1, 1) for value in (own.mean, own.std, config.mean, config.std))
        own_mean, own_std, mean, std = values
        return (self.inputs[task.value].float() * own_std + own_mean - mean) / std

    def box_outputs(self, card, model=None):
        model, key = model or self.model, TaskKey(card, Task.DETECTION)
        with torch.no_grad():
            return model.head(key)(model.trunk(self.image(Task.DETECTION), key), model.trunks["detection"])


@pytest.fixture(scope="module", params=["x", "x_plus"])
def golden(request, folder):
    path = folder / f"{request.param}_tiny.pth"
    released = read_released(path)
    model, _ = assembled(released, request.param, str(path))
    inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("foundation_x_inputs", f"{request.param}_tiny_outputs")
    )
    return Golden(released, model, inputs, outputs)


def error(result, expected):
    return float((result - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("card", DETECTORS)
def test_proposals_and_every_decoder_layer_are_the_released_ones(card, golden):
    ours, expected = golden.box_outputs(card), f"detection/{DETECTORS[card]}"
    logits, boxes = (
        torch.cat([golden.outputs[f"{expected}/proposal_{kind}"][None], golden.outputs[f"{expected}/layer_{kind}"]])
        for kind in ("logits", "boxes")
    )
    assert error(ours.logits, logits) < EQUAL and error(ours.boxes, boxes) < EQUAL


def test_stages_and_memory_of_the_detector_are_the_released_ones(golden):
    trunk, raw = golden.model.trunks["detection"], golden.model.backbone(golden.inputs["detection"].float(), raw=True)
    for norm, stage, name in zip(trunk.norms, raw[1:], ("stage2", "stage3", "stage4"), strict=True):
        normed = norm(stage.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert error(normed[:1], golden.outputs[f"detection/{name}"]) < EQUAL
    assert error(trunk(raw).memory[:, ::8], golden.outputs["detection/encoder_memory_every_8"]) < EQUAL


@pytest.mark.parametrize("card", DETECTORS)
def test_predicted_boxes_are_the_released_ones_of_the_classes(card, golden):
    """The released code shows all 14 outputs; of these, output 0 and those beyond the classes are hidden here."""
    key = TaskKey(card, Task.DETECTION)
    predicted = golden.model.predict(golden.image(Task.DETECTION), key)
    scores, labels, boxes = (
        golden.outputs[f"detection/{DETECTORS[card]}/{name}"] for name in ("scores", "labels", "boxes")
    )
    seen = 0
    for image, (height, width) in enumerate(golden.inputs["target_sizes"].tolist()):
        visible = (labels[image] >= 1) & (labels[image] <= len(golden.model.classes[key]))
        count, scale = int(visible.sum()), torch.tensor([width, height, width, height])
        seen += count
        assert error(predicted.scores[image, :count], scores[image][visible]) < EQUAL if count else True
        assert torch.equal(predicted.box_classes[image, :count], labels[image][visible] - 1)
        expected = (boxes[image][visible] / scale).clamp(0, 1)
        torch.testing.assert_close(predicted.relative_boxes[image, :count], expected, atol=EQUAL, rtol=0)
    assert seen or card != "chestx_det"


@pytest.mark.parametrize("card", MASKS)
def test_masks_are_the_released_ones_with_the_statistics_of_the_student(card, golden, folder):
    key, name = TaskKey(card, Task.SEGMENTATION), f"segmentation/{MASKS[card]}/logits"
    path = folder / f"{'x' if golden.released.kind == 'foundation_x' else 'x_plus'}_tiny.pth"
    teachers, _ = assembled(convert(pick_weights(read_file(path), path)[0], "teacher alone"), "teacher", "here")
    for statistics, model in (("student", golden.model), ("teacher", teachers)):
        (stored,) = [stored for stored in golden.outputs if stored.startswith(f"{name}_{statistics}")]
        step, image = int(stored.rpartition("_")[2]), golden.image(Task.SEGMENTATION)
        masks = model.predict(image, key).masks.detach()[:, :, ::step, ::step]
        assert error(masks, golden.outputs[stored].sigmoid()) < EQUAL
        logits = F.interpolate(model.head(key)(model.trunk(image, key), None), (224, 224), mode="bilinear")
        assert error(logits[:, :, ::step, ::step], golden.outputs[stored]) < EQUAL


@torch.no_grad()
def test_heads_predict_together_as_they_do_alone(golden):
    keys = [TaskKey("shenzhen", Task.CLASSIFICATION), TaskKey("siim_acr", Task.DETECTION)]
    keys += [TaskKey("node21", Task.DETECTION), TaskKey("siim_acr", Task.SEGMENTATION)]
    images = golden.inputs["classification"][:1].float()
    for key, together in golden.model.predict_all(images, keys).items():
        alone = golden.model.predict(images, key)
        for field in dataclasses.fields(alone):
            assert torch.equal(getattr(together, field.name), getattr(alone, field.name)), field.name


@torch.no_grad()
def test_stages_that_are_segmented_have_no_norm(golden):
    raw = golden.model.backbone(golden.inputs["segmentation"].float(), raw=True)
    for stage, name in zip(raw, ("stage1_every_2", "stage2", "stage3", "stage4"), strict=True):
        step = 2 if name.endswith("_2") else 1
        assert error(stage[:1, :, ::step, ::step], golden.outputs[f"segmentation/{name}"]) < EQUAL
    fused = golden.model.trunks["segmentation"](raw)
    assert error(fused[:1], golden.outputs["segmentation/fused_student_statistics"]) < EQUAL


@torch.no_grad()
def test_boxes_of_a_padded_batch_are_the_released_ones(golden):
    """Images of 224 x 224 and, padded with zeros, of 160 x 192 pixels; the mask is what makes them equal."""
    key, trunk, expected = (
        TaskKey("node21", Task.DETECTION),
        golden.model.trunks["detection"],
        "detection_padded/NODE21",
    )
    padded = torch.zeros(2, 224, 224, dtype=torch.bool)
    padded[1, 160:], padded[1, :, 192:] = True, True
    raw = golden.model.backbone(golden.inputs["detection"].float() * ~padded[:, None], raw=True)
    head = golden.model.head(key)
    ours = head(trunk(raw, padded), trunk)
    stored = {
        kind: torch.cat(
            [golden.outputs[f"{expected}/proposal_{kind}"][None], golden.outputs[f"{expected}/layer_{kind}"]]
        )
        for kind in ("logits", "boxes")
    }
    assert error(ours.logits, stored["logits"]) < EQUAL and error(ours.boxes, stored["boxes"]) < EQUAL
    without = head(trunk(raw), trunk)
    assert error(without.logits[:, :1], stored["logits"][:, :1]) < EQUAL, "the image that is not padded"
    assert error(without.logits[:, 1], stored["logits"][:, 1]) > 10 * EQUAL
    scores, best = ours.logits[-1].sigmoid().flatten(1).topk(20)
    assert error(scores, golden.outputs[f"{expected}/scores"]) < EQUAL
    assert torch.equal(best % ours.logits.shape[-1], golden.outputs[f"{expected}/labels"])
    for image, (height, width) in enumerate(golden.inputs["target_sizes"].tolist()):
        boxes = to_corners(ours.boxes[-1, image, best[image] // ours.logits.shape[-1]])
        relative = golden.outputs[f"{expected}/boxes"][image] / torch.tensor([width, height, width, height])
        torch.testing.assert_close(boxes, relative, atol=EQUAL, rtol=0)


def read_as_corners_once_more(boxes):
    """What the released training loop makes of boxes (n, 4), centre and size: it takes them for two corners.

    Those whose sides are then negative are dropped; (0, 0, 0, 0) is the box of an image without any.
    """
    changed = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    kept = changed[(changed[:, 2:] > 0).all(1)]
    return kept if len(kept) else torch.zeros(1, 4)


def gated_logits(model, golden, card, boxes):
    """Mask logits (2, K, 224, 224) with the gate of boxes (n, 4), centre and size in pixels, of each image."""
    padded = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True)
    scores = (padded[..., 2:].prod(-1) > 0).float()
    corners = torch.cat([padded[..., :2] - padded[..., 2:] / 2, padded[..., :2] + padded[..., 2:] / 2], -1) / 224
    raw = model.backbone(golden.inputs["segmentation"].float(), raw=True)
    gated = gate_features(raw, corners, scores, (224, 224), RegionGateConfig(corners=True))
    key, trunk = TaskKey(card, Task.SEGMENTATION), model.trunks["segmentation"]
    return F.interpolate(model.head(key)(trunk(gated), trunk), (224, 224), mode="bilinear")


@torch.no_grad()
@pytest.mark.parametrize("card", MASKS)
def test_detector_gates_the_masks_as_in_the_released_training(card, golden, folder):
    """Boxes and mask logits of detector, gate and segmentation in a row, with the released fault in between.

    Our own gate takes the boxes as they are; the fault (``read_as_corners_once_more``) is reproduced here alone, so
    that the stored outputs hold what comes before and after it. The chain is that of the teacher with its statistics.
    """
    if golden.released.kind != "foundation_x_plus":
        pytest.skip("X has no gate")
    path, expected = folder / "x_plus_tiny.pth", f"gate_chain/{MASKS[card]}"
    teacher, _ = assembled(convert(pick_weights(read_file(path), path)[0], "teacher alone"), "teacher", "here")
    outputs = golden.box_outputs(card, teacher)
    scores, best = outputs.logits[-1].sigmoid().flatten(1).topk(20)
    boxes = []
    for image in (0, 1):
        chosen = best[image][scores[image] > 0.3] // outputs.logits.shape[-1]
        boxes.append(read_as_corners_once_more(outputs.boxes[-1, image, chosen] * 224))
        stored = golden.outputs[f"{expected}/boxes_image{image}"]
        torch.testing.assert_close(boxes[-1], stored, atol=1e-2, rtol=0)
    (name,) = [name for name in golden.outputs if name.startswith(f"{expected}/logits")]
    step = int(name.rpartition("_")[2])
    assert error(gated_logits(teacher, golden, card, boxes)[..., ::step, ::step], golden.outputs[name]) < EQUAL


@torch.no_grad()
def test_gate_of_x_plus_is_the_released_one(golden):
    if golden.released.kind != "foundation_x_plus":
        pytest.skip("X has no gate")
    boxes = [golden.inputs[f"gate_boxes_image{image}"].float() for image in (0, 1)]
    logits = gated_logits(golden.model, golden, "candid_ptx", boxes)[..., ::2, ::2]
    assert error(logits, golden.outputs["segmentation/CANDID-PTX/gated_logits_student_statistics_every_2"]) < EQUAL


@pytest.mark.parametrize("change", [{"shift": "published"}, {"eps": 1e-6}])
def test_another_rule_of_shifting_or_eps_is_not_the_released_network(change, golden):
    wrong = dataclasses.replace(golden.released, shape=dataclasses.replace(golden.released.shape, **change))
    model, _ = assembled(wrong, "wrong", "here")
    ours, expected = golden.box_outputs("rsna_pneumonia", model), "detection/RSNA"
    assert error(ours.logits[0], golden.outputs[f"{expected}/proposal_logits"]) > 10 * EQUAL


def test_a_position_encoder_of_another_width_or_order_is_refused_or_wrong(golden, monkeypatch):
    """mmdet's decoder takes 1,024 numbers of a box; DINO and every published decoder take 512."""
    right = golden.box_outputs("node21")
    sines = detection_trunk.sine_of
    with monkeypatch.context() as patch:
        other = lambda coordinates, dims, temperature: sines(coordinates.flip(-1), dims, temperature)  # noqa: E731
        patch.setattr("foundationx.tasks.detection.head.sine_of", other)
        assert error(golden.box_outputs("node21").logits[1:], right.logits[1:]) > 10 * EQUAL
    monkeypatch.setattr(detection_trunk._PositionEncoder, "__init__", _of_mmdet)
    with pytest.raises(CheckpointError, match=r"of another shape: .*decoder.ref_point_head.layers.0.weight"):
        assembled(golden.released, "wrong", "here")


def _of_mmdet(self, dims):
    torch.nn.Module.__init__(self)
    self.layers = torch.nn.ModuleList([torch.nn.Linear(4 * dims, dims), torch.nn.Linear(dims, dims)])


def test_tied_tensors_that_differ_and_missing_ones_are_refused(folder):
    path = folder / "x_plus_tiny.pth"
    tensors = pick_weights(read_file(path), path)[0]
    tied = "bbox_embed.3.1.layers.0.weight"
    with pytest.raises(CheckpointError, match=r"bbox_embed\.3\.1\.layers\.0\.weight differs from"):
        convert(tensors | {tied: tensors[tied] + 1}, "here")
    for name in ("transformer.level_embed", "transformer.encoder.layers.1.norm2.bias", "input_proj.2.1.weight"):
        with pytest.raises(CheckpointError, match=r"without|1 missing"):
            assembled(convert({n: value for n, value in tensors.items() if n != name}, "here"), "x", "here")
    with pytest.raises(CheckpointError, match=r"does not have: transformer\.decoder\.gate"):
        convert(tensors | {"transformer.decoder.gate": torch.ones(3)}, "here")
    bare = convert({n: value for n, value in tensors.items() if n.startswith("backbone.0.")}, "here")
    assert {key.task.value for key in bare.rest.classes} == {"segmentation"}


@pytest.mark.parametrize(("name", "entries", "parameters"), [("x", 2_340, 178_568_276), ("x_plus", 1_623, 131_630_164)])
def test_every_entry_is_taken_or_named_at_published_size(name, entries, parameters, folder, monkeypatch):
    """On the meta device, but for the rates of drop path, which mmdet reads. Counts of the released networks."""
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    path = folder / f"{name}_tiny.pth"
    tensors = published_size(pick_weights(read_file(path), path)[0])
    assert len(tensors) == entries
    with torch.device("meta"):
        released = convert(tensors, "meta")
        assembled(released, "meta", "here")
    assert released.loaded.keys() | released.skipped.keys() == tensors.keys()
    assert not released.loaded.keys() & released.skipped.keys() and all(released.skipped.values())
    buffers = ("relative_position_index", "running_mean", "running_var", "num_batches_tracked")
    ties = {n for n, reason in released.skipped.items() if reason.startswith("another name of")}
    ties |= {n for n in tensors if name == "x" and n.startswith("class_embed.")}  # of the decoders' own
    ties |= {n for n in tensors if _is_later_layer(n)}
    counted = [value.numel() for n, value in tensors.items() if n not in ties and not n.endswith(buffers)]
    assert sum(counted) == parameters


def _is_later_layer(name):
    """Whether a class or box layer is that of a later decoder layer: all layers share one."""
    parts = name.split(".")
    index = next((i for i, part in enumerate(parts) if part.startswith(("bbox_embed", "class_embed"))), None)
    if index is None:
        return False
    before = parts[index - 1] if index else ""
    layer = parts[index + 1] if before.isdecimal() else parts[index + 2]
    return layer != "0"


def test_configuration_of_the_file_is_the_one_that_was_read(golden, folder):
    name = "x" if golden.released.kind == "foundation_x" else "x_plus"
    described = json.loads((folder / f"{name}_tiny_config.json").read_text())
    sizes = golden.model.config.detection
    ours = {
        **{"hidden_dim": sizes.embed_dims, "nheads": sizes.num_heads, "enc_n_points": sizes.points},
        **{"num_feature_levels": sizes.levels, "enc_layers": sizes.encoder_layers, "pe_temperature": sizes.temperature},
        **{"dec_layers": sizes.decoder_layers, "num_queries": sizes.queries, "dim_feedforward": sizes.ffn_dims},
    }
    assert ours == {key: described[key] for key in ours}
    outputs = golden.model.config.heads[Task.DETECTION].options["outputs"]
    assert outputs == described["num_classes"] and described["entries"] == 932 if name == "x" else 671
