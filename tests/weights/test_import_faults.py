"""Files that are torn, contradict themselves, are of another network or could run code: each is refused, and why."""

import pytest
import torch

from foundationx.core.errors import CheckpointError
from foundationx.weights.imports.released import read_released
from tests.helpers.released_files import WIDTH, ark, draw, save


class Harmful:
    """An object that reads back by running a function."""

    def __reduce__(self):
        return (print, ("code of the file was run",))


def _without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def _with(name, value):
    return lambda tensors: tensors | {name: value}


FAULTS = {
    "a layer is missing": (_without("layers.1.blocks.0.mlp.fc1.bias"), "1 missing: stages.1.blocks.0.ffn"),
    "patch merging is missing": (_without("layers.0.downsample.reduction.weight"), "missing: stages.0.downsample"),
    "the bias table is no square": (_with("layers.2.blocks.0.attn.relative_position_bias_table", draw(8, 2)), "8 rows"),
    "one stage has another window": (
        _with("layers.3.blocks.0.attn.relative_position_bias_table", draw(25, 4)),
        "windows of 2",
    ),
    "the index is another window's": (
        _with("layers.0.blocks.0.attn.relative_position_index", torch.zeros(4, 4, dtype=torch.long)),
        "not that of a window of 2",
    ),
    "a mask is another window's": (
        _with("layers.0.blocks.1.attn_mask", torch.zeros(9, 9, 9)),
        "as the bias tables imply",
    ),
    "a tensor nobody knows": (_with("layers.0.blocks.0.gate", draw(3)), "unexpected: stages.0.blocks.0.gate"),
    "a module nobody knows": (_with("adapter.weight", draw(3)), "does not have: adapter.weight"),
    "numbers that are none": (_with("norm.bias", torch.full((WIDTH,), float("nan"))), "norm.bias that are not finite"),
    "a head without bias": (_without("omni_heads.2.bias"), "weight and bias of every head"),
    "a head of another width": (_with("omni_heads.5.weight", draw(1, 7)), "the head of shenzhen"),
    "half a projector": (_without("projector.bias"), "a projector of weight"),
    "a projector of another width": (_with("projector.weight", draw(10, 5)), "takes 192 features"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_contradict_themselves_are_refused(fault, tmp_path):
    change, message = FAULTS[fault]
    with pytest.raises(CheckpointError, match=message):
        read_released(save(change(ark()[1]), tmp_path / "a.pth.tar"))


def test_heads_in_an_unknown_order_are_refused_until_named(tmp_path):
    path = save(ark(outputs=(14, 3, 14, 14, 6, 1))[1], tmp_path / "a.pth.tar")
    with pytest.raises(CheckpointError, match=r"\[14, 3, 14, 14, 6, 1\] outputs[\s\S]*--heads"):
        read_released(path)
    order = ["chexpert", "rsna_pneumonia", "mimic_cxr_jpg", "nih_chestxray14", "vindr_cxr_global", "shenzhen"]
    assert [head.name for head in read_released(path, heads=order).heads] == order
    with pytest.raises(CheckpointError, match="did you mean 'chexpert'"):
        read_released(path, heads=["chexpret"])


def test_torn_foreign_and_harmful_files_are_refused(tmp_path, capsys):
    whole = save(ark()[1], tmp_path / "a.pth.tar")
    for share in (0.3, 0.99):
        torn = tmp_path / f"torn{share}.pth.tar"
        torn.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        with pytest.raises(CheckpointError, match="torn"):
            read_released(torn)
    flipped = bytearray(whole.read_bytes())
    flipped[len(flipped) // 2] ^= 1  # inside the numbers of a layer
    (tmp_path / "flipped.pth.tar").write_bytes(flipped)
    with pytest.raises(CheckpointError, match="torn"):
        read_released(tmp_path / "flipped.pth.tar")
    with pytest.raises(CheckpointError, match="no such file"):
        read_released(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="other backbones are not imported"):
        read_released(save({"conv1.weight": draw(3)}, tmp_path / "resnet.pth"))
    with pytest.raises(CheckpointError, match="weights in one of"):
        read_released(save({"epoch": 3, "master": {"a": draw(3)}}, tmp_path / "fed.pth"))
    with pytest.raises(CheckpointError, match="print, which cannot be read without running code"):
        read_released(save({"teacher": ark()[1], "x": Harmful()}, tmp_path / "harmful.pth"))
    assert "was run" not in capsys.readouterr().out
