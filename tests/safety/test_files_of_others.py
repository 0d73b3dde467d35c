"""Checkpoints, imports and exports of others are data: nothing that they describe runs or opens anything."""

import inspect
import json
import math
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from foundationx import load
from foundationx.apps.cli.main import FAULT, main
from foundationx.core.config.backbones import KNOWN, known_backbone, without_sources
from foundationx.core.config.load import load_config, parse_config
from foundationx.core.errors import CheckpointError, ConfigError, FoundationXError
from foundationx.core.resources import packaged_configs
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from foundationx.evaluation.checkpoint import with_exclusion
from foundationx.models import transformers_nets
from foundationx.models.backbone import backbone_classes
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Source
from foundationx.weights.imports.continual import load_run
from foundationx.weights.imports.imported import read_heads

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "helpers" / "tiny_config.py"
HEAD = {TaskKey("films", Task.CLASSIFICATION): ("mass", "nodule")}
RESNET = {"type": "mmdet.ResNet", "depth": 18, "base_channels": 8}
TOUCH = "/usr/bin/touch"
MARK = "MARK"
"""Stands for the path of a file that an attack writes."""

POPEN = {"type": "subprocess.Popen", "args": [TOUCH, MARK]}
CALLS = [
    POPEN,
    {"type": "subprocess.run", "args": [TOUCH, MARK]},
    {"type": "subprocess.check_output", "args": [TOUCH, MARK]},
    {"type": "os.system", "command": f"{TOUCH} {MARK}"},
    {"type": "os.popen", "cmd": f"{TOUCH} {MARK}"},
    {"type": "os.mkdir", "path": MARK},
    {"type": "os.symlink", "src": "/etc/passwd", "dst": MARK},
    {"type": "shutil.copyfile", "src": "/etc/passwd", "dst": MARK},
    {"type": "shutil.rmtree", "path": "FOLDER"},
    {"type": "io.open", "file": MARK, "mode": "w"},
    {"type": "logging.FileHandler", "filename": MARK},
    {"type": "zipfile.ZipFile", "file": MARK, "mode": "w"},
    {"type": "sqlite3.connect", "database": MARK},
    {"type": "torch.save", "obj": 1, "f": MARK},
    {"type": "runpy.run_path", "path_name": "FOLDER/script.py"},
    {"type": "torch.load", "f": "FOLDER/pickled.pt", "weights_only": False},
    {"type": "numpy.load", "file": "FOLDER/pickled.npy", "allow_pickle": True},
    {"type": "urllib.request.urlopen", "url": "http://127.0.0.1:9/"},
    {"type": "socket.create_connection", "address": ["127.0.0.1", 9]},
]
"""Callables that mmengine's registries take as a layer, with arguments that have an effect."""


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A small checkpoint as this program writes it."""
    config = load_config(TINY)
    model = FoundationModel(config.model, HEAD)
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    rest = {"optimizer": optimizer, "step": 1, "visit": 0, "progress": {}}
    return save_checkpoint(tmp_path_factory.mktemp("run"), config=config, model=model, teacher=model, **rest)


def with_mark(value, mark):
    """The description with the path of the mark and of the folder of :func:`bait` filled in."""
    return json.loads(json.dumps(value).replace(MARK, str(mark)).replace("FOLDER", str(mark.parent / "bait")))


def bait(mark):
    """Writes a folder with a script and pickles that write the mark."""
    folder = mark.parent / "bait"
    folder.mkdir()
    (folder / "script.py").write_text(f"open({str(mark)!r}, 'w')\n")
    torch.save(Evil(mark), folder / "pickled.pt")
    np.save(folder / "pickled.npy", np.array([Evil(mark)], dtype=object), allow_pickle=True)
    return folder


def forged(honest, folder, change):
    """The checkpoint with another configuration, as somebody else may have written it.

    Args:
        honest: Checkpoint to begin with.
        folder: Where the forged one is written, as the only checkpoint of a run.
        change: Function that changes the configuration, a dictionary, in place; or the text of a configuration.
    """
    content = torch.load(honest, weights_only=True)
    if isinstance(change, str):
        content["config"] = change
    else:
        values = json.loads(content["config"])
        change(values)
        content["config"] = json.dumps(values)
    path = folder / "checkpoints" / "step_00000001.pt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


@pytest.fixture
def watched(monkeypatch):
    """Names of modules imported, programs started and addresses asked for while a test runs, as events of Python."""
    events = []
    active = [True]

    def hook(event, arguments):
        if active[0] and event in ("subprocess.Popen", "os.system", "os.exec", "socket.getaddrinfo", "socket.connect"):
            events.append((event, str(arguments)[:200]))

    sys.addaudithook(hook)  # stays for good: made deaf at the end
    yield events
    active[0] = False


def swin(**changes):
    """A change of arguments of the checkpoint's Swin."""
    return lambda values: values["model"]["backbone"].update(changes)


def network(**backbone):
    """Another backbone in place of the checkpoint's."""
    return lambda values: values["model"].update(backbone=backbone)


RUN_CODE = {
    **{f"activation is {call['type']}": swin(act_cfg=call) for call in CALLS},
    "norm is a program": swin(norm_cfg=POPEN),
    "norm is Python's eval": swin(norm_cfg={"type": "builtins.eval", "source": f"open('{MARK}', 'w')"}),
    "the backbone is a program": network(**POPEN),
    "the backbone is a module of mmdet with a program inside": network(
        type="mmdet.ChannelMapper", in_channels=[8], out_channels=8, num_outs=1, act_cfg=POPEN
    ),
    "the backbone is a detector with a program inside": network(type="mmdet.SingleStageDetector", backbone=POPEN),
    "a detector in a detector": network(
        type="mmdet.SingleStageDetector", backbone={"type": "mmdet.SingleStageDetector", "backbone": POPEN}
    ),
    "a segmenter with a program as preprocessor": network(type="mmseg.EncoderDecoder", data_preprocessor=POPEN),
    "a nested backbone of a recursive network": network(
        type="mmdet.DetectoRS_ResNet", depth=50, rfp_inplanes=8, sac=POPEN, stage_with_sac=[True] * 4
    ),
    "convolution is a program": network(**RESNET, conv_cfg=POPEN),
    "norm of a ResNet": network(**RESNET, norm_cfg=POPEN),
    "plug-ins of a ResNet": network(
        **RESNET, plugins=[{"cfg": POPEN, "stages": [True] * 4, "position": "after_conv1"}]
    ),
    "deformable convolution": network(**RESNET, dcn=POPEN, stage_with_dcn=[True] * 4),
    "scope of another library": swin(act_cfg={"type": "mmengine.subprocess.Popen", "args": [TOUCH, MARK]}),
    "scope of torch": swin(norm_cfg={"type": "torch.hub.load", "repo_or_dir": "x/y", "model": "z"}),
    "type in another scope": network(type="mmengine.BaseModel", data_preprocessor=POPEN),
    "type below a module": network(type="mmdet.models.SwinTransformer"),
    "type is a list": network(type=["mmdet.SwinTransformer"]),
    "type is a dictionary": network(type={"type": "mmdet.SwinTransformer"}),
    "type is a number": network(type=7),
    "type with a null byte": network(type="mmdet.SwinTransformer\0"),
    "type in full-width letters": network(type="mmdet.\uff33winTransformer"),
    "type with an invisible letter": network(type="mmdet.Swin\u200bTransformer"),
    "argument in letters that look alike": swin(**{"\u0430ct_cfg": POPEN}),
    "argument that Python normalises": swin(**{"\uff41ct_cfg": POPEN}),
    "scope key": swin(_scope_="os"),
    "delete key": swin(_delete_=True),
    "activation of a plug-in of mmcv": swin(act_cfg={"type": "mmcv.ContextBlock"}),
    "activation with an argument of its own": swin(act_cfg={"type": "GELU", "device": POPEN}),
    "norm is text": swin(norm_cfg="LN"),
    "an entry point as activation": swin(act_cfg={"type": "foundationx.heads:classification"}),
    "depths are text": swin(depths="1111"),
    "numbers are text": swin(embed_dims="8"),
    "a truth value as a number": swin(window_size=True),
    "a key that is Python's": swin(__class__=POPEN),
    "multi-grid of a ResNet": network(type="mmseg.ResNet", depth=18, multi_grid=[POPEN]),
    "timm through mmdet": network(type="mmdet.TIMMBackbone", model_name="resnet18", checkpoint_path="http://x/y"),
}

OTHER_SECTIONS = {
    "a head by its path": lambda values: values["model"].update(heads={"classification": {"type": "os.path"}}),
    "a head from a file": lambda values: values["model"].update(heads={"classification": {"type": "../../evil"}}),
    "a nested type in a head's options": lambda values: values["model"].update(
        heads={"classification": {"type": "classification", "options": {"loss": POPEN}}}
    ),
    "a key more": lambda values: values.update(custom_hooks=[POPEN]),
    "imports": lambda values: values.update(custom_imports={"imports": ["evil"]}),
    "a base": lambda values: values.update(_base_=["/tmp/evil.py"]),
    "a schedule by its path": lambda values: values.update(name="../../evil"),
    "a name of another folder": lambda values: values.update(name="/tmp/evil"),
}


@pytest.mark.parametrize("change", [pytest.param(one, id=name) for name, one in (RUN_CODE | OTHER_SECTIONS).items()])
def test_nothing_that_a_checkpoint_describes_is_run(change, honest, tmp_path, watched):
    def with_path(values):
        change(values)
        values.update(with_mark(values, tmp_path / "mark"))

    folder, path = bait(tmp_path / "mark"), forged(honest, tmp_path, with_path)
    with pytest.raises(FoundationXError) as refused:
        load_checkpoint(path).model()
    assert not os.path.lexists(tmp_path / "mark") and folder.is_dir() and watched == []
    assert refused.value.fix


SOURCES = {
    "file": "{folder}/weights.pth",
    "http": "http://127.0.0.1:9/weights.pth",
    "https": "https://127.0.0.1:9/weights.pth",
    "file address": "file://{folder}/weights.pth",
    "ftp": "ftp://127.0.0.1:9/weights.pth",
    "s3": "s3://bucket/weights.pth",
    "open-mmlab": "open-mmlab://resnet50",
    "torchvision": "torchvision://resnet50",
    "mmcls": "mmcls://vgg11",
}


@pytest.mark.parametrize("address", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("key", ["init_cfg", "init_cfg in a list", "pretrained", "nested"])
def test_addresses_of_weights_are_not_followed(address, key, honest, tmp_path, monkeypatch, watched):
    """``init_cfg`` and ``pretrained`` are dropped: the weights are those of the file, bit for bit."""
    (tmp_path / "weights.pth").symlink_to("/dev/zero")  # whoever opens it never ends
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("asked for an address"))
    address = address.format(folder=tmp_path)
    init = {"type": "Pretrained", "checkpoint": address}
    changes = {
        "init_cfg": {"init_cfg": init},
        "init_cfg in a list": {"init_cfg": [init]},
        "pretrained": {"pretrained": address},
        "nested": {"act_cfg": {"type": "GELU", "init_cfg": init}},
    }
    model = load_checkpoint(forged(honest, tmp_path / "run", swin(**changes[key]))).model()
    stored = torch.load(honest, weights_only=True)["teacher"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert watched == [] and "init_cfg" not in json.dumps(model.config.backbone)


def test_a_pretrained_start_of_ones_own_configuration_works(tmp_path, honest):
    """As every OpenMMLab user writes it; and a checkpoint of such a run opens after the file is gone."""
    config = load_config(TINY)
    source = FoundationModel(config.model, {}).backbone.net.state_dict()
    start = tmp_path / "start.pth"
    torch.save(
        {"state_dict": {f"backbone.{name}": value + value.is_floating_point() for name, value in source.items()}}, start
    )
    init = {"type": "Pretrained", "checkpoint": str(start)}
    own = load_config(TINY, {"model.backbone.init_cfg": init})
    model = FoundationModel(own.model, HEAD)
    name = "stages.0.blocks.0.attn.w_msa.qkv.weight"
    assert torch.equal(model.backbone.net.state_dict()[name], source[name] + 1.0)
    rest = {"optimizer": {}, "step": 1, "visit": 0, "progress": {}}
    path = save_checkpoint(tmp_path / "run", config=own, model=model, teacher=model, **rest)
    assert read_checkpoint(path).config == own, "resuming compares what the user wrote"
    start.unlink()
    with pytest.raises(ConfigError, match=r"init_cfg: FileNotFoundError"):
        FoundationModel(own.model, HEAD)
    opened = load_checkpoint(path).model()
    assert torch.equal(opened.backbone.net.state_dict()[name], source[name] + 1.0)


SIZES = {
    "width": swin(embed_dims=10**9),
    "depth": swin(depths=[10**6] * 4),
    "many stages": swin(depths=[1] * 10**5, num_heads=[1] * 10**5),
    "heads": swin(num_heads=[10**9] * 4),
    "window": swin(window_size=10**5),
    "hidden width": swin(mlp_ratio=1e12),
    "not a number": swin(mlp_ratio=math.nan),
    "infinite": swin(drop_rate=math.inf),
    "negative": swin(embed_dims=-8),
    "zero": swin(patch_size=0),
    "position embedding": swin(use_abs_pos_embed=True, pretrain_img_size=10**9),
    "allowed, but not the size of its weights": swin(embed_dims=4096, num_heads=[1] * 4, depths=[64] * 4),
    "ResNet": network(type="mmdet.ResNet", depth=152, base_channels=4096),
    "ConvNeXt": network(type="mmdet.ConvNeXt", depths=[64] * 4, dims=[4096] * 4),
    "DINOv2": network(type="transformers.Dinov2Model", hidden_size=4096, num_hidden_layers=64, image_size=4096),
    "EVA-02": network(type="mmdet.EVA02", width=4096, depth=64, hidden=32_768),
    "ViT": network(type="mmseg.VisionTransformer", embed_dims=4096, num_layers=64, img_size=[4096, 4096]),
    "queries": lambda values: values["model"]["detection"].update(queries=10**9),
    "layers": lambda values: values["model"]["detection"].update(encoder_layers=10**7),
    "hidden layers": lambda values: values["model"]["detection"].update(ffn_dims=10**12),
    "projector": lambda values: values["model"].update(projector={"features": 10**10, "hidden": True}),
    "pyramid": lambda values: values["model"]["segmentation"].update(channels=10**9),
    "grids": lambda values: values["model"]["segmentation"].update(pool_scales=[10**6]),
    "image": lambda values: values.update(image_size=32 * 10**6),
    "number of ten thousand digits": lambda values: values["model"]["detection"].update(queries=10**4000),
}


@pytest.mark.parametrize("change", SIZES.values(), ids=SIZES)
def test_a_network_larger_than_its_file_is_refused_before_it_takes_memory(change, honest, tmp_path):
    path = forged(honest, tmp_path, change)
    before = _peak()
    with pytest.raises(FoundationXError):
        load_checkpoint(path).model()
    assert _peak() - before < 1 << 20, "kilobytes: less than 1 GiB more than before"


def _peak():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


TEXTS = {
    "a key twice": '{"name": "a", "name": "b"}',
    "a backbone twice": '{"model": {"backbone": {"type": "mmdet.ResNet", "type": "os.system"}}}',
    "no number": '{"name": NaN}',
    "endless": "[" * 100_000,
    "a list": "[]",
    "no JSON": "name: a",
    "Python": "__import__('os').system('true')",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_text_of_a_configuration_is_strict_json(text, honest, tmp_path):
    with pytest.raises(FoundationXError):
        load_checkpoint(forged(honest, tmp_path, text))


class Evil:
    """Unpickling one writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"{TOUCH} {self.mark}",)


@pytest.mark.parametrize("entry", ["progress", "teacher", "config", "optimizer"])
def test_pickled_code_in_a_checkpoint_is_not_run(entry, honest, tmp_path, watched):
    content = torch.load(honest, weights_only=True) | {entry: Evil(tmp_path / "mark")}
    torch.save(content, tmp_path / "step_00000001.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert watched == [] and not (tmp_path / "mark").exists()


def exported(honest, folder, **facts):
    """A file as ``export --to backbone`` writes it, with other metadata."""
    checkpoint = load_checkpoint(honest)
    model = checkpoint.model()
    metadata = describe(Source(model, checkpoint.config, "teacher")) | facts
    tensors = {name: value.contiguous() for name, value in model.backbone.net.state_dict().items()}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "backbone.safetensors", metadata=metadata)
    return folder / "backbone.safetensors"


@pytest.mark.parametrize("change", [pytest.param(one, id=name) for name, one in RUN_CODE.items()])
def test_nothing_that_an_export_describes_is_run(change, honest, tmp_path, watched):
    values = {"model": {"backbone": load_config(TINY).model.backbone}}
    change(values)
    backbone = with_mark(values["model"]["backbone"], tmp_path / "mark")
    path = exported(honest, tmp_path, backbone=json.dumps(backbone))
    with pytest.raises(FoundationXError):
        load(path, device="cpu")
    assert not (tmp_path / "mark").exists() and watched == []


METADATA = {
    "backbone twice": {"backbone": '{"type": "mmdet.ResNet", "type": "mmdet.SwinTransformer"}'},
    "mean is a description": {"mean": json.dumps([POPEN] * 3)},
    "mean is no number": {"mean": "[NaN, 0, 0]"},
    "std of zero": {"std": "[0, 1, 1]"},
    "std is text": {"std": '"abc"'},
    "size is text": {"image_size": "64 pixels"},
    "size is huge": {"image_size": str(32 * 10**9)},
    "size is negative": {"image_size": "-32"},
    "rule is unknown": {"shift": "os.system"},
    "backbone is a list": {"backbone": "[1]"},
    "backbone is too deep": {"backbone": '{"a":' * 50_000},
    "network is larger": {"backbone": json.dumps({"type": "mmdet.ConvNeXt", "depths": [64] * 4, "dims": [4096] * 4})},
}


@pytest.mark.parametrize("facts", METADATA.values(), ids=METADATA)
def test_metadata_of_an_export_are_checked(facts, honest, tmp_path):
    path = exported(honest, tmp_path, **facts)
    if facts.get("shift"):  # a Swin of mmdet has another rule
        with pytest.raises(CheckpointError, match=r"os\.system"):
            load(path, device="cpu")
        return
    with pytest.raises(FoundationXError):
        load(path, device="cpu")


HEADS = {
    "a name with dots": [{"name": "../../a.b", "classes": ["x"], "exclusive": False}],
    "a name that is a description": [{"name": POPEN, "classes": ["x"], "exclusive": False}],
    "classes are a number": [{"name": "a", "classes": 7, "exclusive": False}],
    "no classes": [{"name": "a", "classes": [], "exclusive": False}],
    "a key is missing": [{"name": "a"}],
    "no list": {"name": "a"},
}


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_heads_of_an_import_are_checked(heads, tmp_path):
    save_file({"heads.a.weight": torch.zeros(1, 4)}, tmp_path / "heads.safetensors", {"heads": json.dumps(heads)})
    with pytest.raises(CheckpointError):
        read_heads(tmp_path / "heads.safetensors")


def test_paths_of_others_are_not_followed(honest, tmp_path):
    paths = {"exclude": str(tmp_path / "list.csv")}

    def change(values):
        values.update(paths)
        values["model"].update(init=str(tmp_path / "other.safetensors"))
        values["runtime"].update(cache=str(tmp_path / "cache"))

    config = load_checkpoint(forged(honest, tmp_path / "run", change)).config
    assert (config.exclude, config.runtime.cache, config.model.init, config.model.init_run) == (None,) * 4
    with pytest.warns(UserWarning, match="--exclude"):
        assert with_exclusion(load_checkpoint(tmp_path / "run"), None).exclude is None
    own = tmp_path / "own.csv"
    assert with_exclusion(load_checkpoint(tmp_path / "run"), own).exclude == own
    trusted = load_checkpoint(tmp_path / "run", allow_code=True).config
    assert (trusted.exclude, trusted.runtime.cache) == (None, None), "code is allowed, paths still lead nowhere"


COMMANDS = {
    "predict": ["predict", "RUN", "IMAGE", "--out", "OUT"],
    "export": ["export", "RUN", "--out", "OUT"],
    "eval": ["eval", "RUN", "--data-root", "OUT"],
    "eval --protocol": ["eval", "RUN", "--data-root", "OUT", "--protocol", "linear", "--card", "phantom_labels"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_command_refuses_an_unknown_network(arguments, honest, tmp_path, capsys):
    run = tmp_path / "run"
    forged(honest, run, lambda values: values["model"].update(backbone=with_mark(POPEN, tmp_path / "mark")))
    (run / "config.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    (run / "sitecustomize.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    put = {"RUN": str(run), "IMAGE": str(tmp_path / "image.png"), "OUT": str(tmp_path / "out")}
    assert main([put.get(word, word) for word in arguments]) == FAULT
    assert "--allow-code" in capsys.readouterr().err and not (tmp_path / "mark").exists()


def test_allow_code_builds_a_network_that_is_not_listed(honest, tmp_path):
    """ResNeSt is not on the list: it is opened if the user trusts the file, and says how if not."""
    config = load_config(TINY)
    backbone = {"type": "mmdet.RegNet", "arch": "regnetx_400mf"}
    values = config.model_dump(mode="json")
    values["model"]["backbone"] = backbone
    own = parse_config(values, "own")
    model = FoundationModel(own.model, HEAD)
    rest = {"optimizer": {}, "step": 1, "visit": 0, "progress": {}}
    path = save_checkpoint(tmp_path, config=own, model=model, teacher=model, **rest)
    with pytest.raises(ConfigError, match="--allow-code"):
        load_checkpoint(path)
    opened = load_checkpoint(path, allow_code=True).model()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in opened.state_dict().items())
    assert load(path, device="cpu", allow_code=True).heads == {"films/classification": ("mass", "nodule")}


def test_links_in_a_run_folder_are_not_written_through(tmp_path):
    from foundationx.core.atomic_write import write_atomically, write_verified

    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("report.html", "report.html.partial", "step_1.pt", "step_1.pt.partial", "step_1.sha256.partial"):
        (tmp_path / name).symlink_to(victim)
    write_atomically(tmp_path / "report.html", "theirs")
    write_verified(tmp_path / "step_1.pt", lambda stream: stream.write(b"theirs"))
    assert victim.read_text() == "mine" and (tmp_path / "report.html").read_text() == "theirs"
    assert not (tmp_path / "report.html").is_symlink() and not (tmp_path / "step_1.pt").is_symlink()


def test_a_run_that_begins_from_another_builds_its_own_network(honest, tmp_path, watched):
    """``model.init_run``: weights are taken by name, the other run's description of its network is not built."""
    config = load_config(TINY)
    model = FoundationModel(config.model, HEAD)
    path = forged(honest, tmp_path, lambda values: values["model"].update(backbone=with_mark(POPEN, tmp_path / "mark")))
    result = load_run(model, path)
    assert result["loaded"] == {"films/classification": ["mass", "nodule"]}
    stored = torch.load(honest, weights_only=True)["teacher"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert watched == [] and not (tmp_path / "mark").exists()


PRESETS = sorted({path for path in packaged_configs().values() if path.suffix == ".py"})


@pytest.mark.parametrize(
    "path", [path for path in PRESETS if path.parent.name != "mmengine"], ids=lambda path: path.stem
)
def test_the_network_of_every_preset_is_known(path):
    backbone = load_config(path).model.backbone
    assert known_backbone(backbone, "preset") == without_sources(backbone)


MMDET_OR_MMSEG_ONLY = ("convert_weights", "contract_dilation", "multi_grid")
"""Arguments that one library's network has and the other's of the same name lacks: refused by the network itself."""

SOURCES_OF_ARGUMENTS = ("self", "args", "kwargs", "arguments", "init_cfg", "pretrained")


def test_the_list_of_networks_has_the_arguments_that_they_take():
    """An argument on the list is one of the network's, and what the list leaves out is named here."""
    for kind, section in KNOWN.items():
        if kind in transformers_nets.NETWORKS:
            name = kind.removeprefix("transformers.").replace("Model", "Config")
            assert set(section.model_fields) - {"pooled", "with_cp"} <= set(getattr(transformers, name)().to_dict()), (
                kind
            )
            continue
        parameters = {}
        for base in backbone_classes()[kind].__mro__:
            if base.__module__.startswith(("mmdet.models", "mmseg.models", "foundationx.")):
                own = inspect.signature(base.__init__).parameters
                parameters = own | parameters
                if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
                    break  # what its base takes, it gives
        for name in section.model_fields:
            assert name in parameters or name in MMDET_OR_MMSEG_ONLY, (kind, name)
        left_out = set(parameters) - set(section.model_fields) - {*SOURCES_OF_ARGUMENTS}
        assert left_out <= {"plugins", "dcn", "stage_with_dcn", "frozen_exclude"}, (kind, left_out)
