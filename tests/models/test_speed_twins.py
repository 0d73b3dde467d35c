"""What is done for speed is held against its plain twin."""

import copy
import importlib

import pytest
import torch

from foundationx.core.errors import ConfigError
from foundationx.models.backbone import Backbone
from foundationx.models.swin import WindowMSA, shift_mask
from tests.helpers.host_traffic import Dispatched

SWIN = {
    "type": "mmdet.PublishedSwin",
    "embed_dims": 16,
    "depths": (2, 2, 2, 2),
    "num_heads": (1, 2, 2, 4),
    "window_size": 4,
    "drop_path_rate": 0.0,
    "out_indices": (0, 1, 2, 3),
}


def pair_of_swins():
    """The same random weights with mmdet's attention and with the fused one."""
    torch.manual_seed(0)
    plain, fused = Backbone(SWIN), Backbone(SWIN | {"fused_attention": True})
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    fused.load_state_dict(plain.state_dict())  # strict: the names are the same
    return plain, fused


@pytest.mark.parametrize("size", [64, 96, 128])
def test_fused_window_attention_equals_mmdets_forward_and_backward(size):
    plain, fused = pair_of_swins()
    images = torch.randn(2, 3, size, size)
    outputs = [net(images) for net in (plain, fused)]
    for theirs, ours in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weights = [torch.randn_like(output) for output in outputs[0]]
    for output in outputs:
        sum((value * weight).mean() for value, weight in zip(output, weights, strict=True)).backward()
    named = dict(plain.named_parameters())
    for name, parameter in fused.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad, atol=1e-5, rtol=1e-4, msg=name)
    assert any("relative_position_bias_table" in name for name in named)


def test_fused_attention_is_off_by_default_and_refuses_to_drop_weights():
    assert not any("Fused" in type(module).__name__ for module in Backbone(SWIN).modules())
    with pytest.raises(ConfigError, match="attn_drop_rate"):
        Backbone(SWIN | {"fused_attention": True, "attn_drop_rate": 0.1})


@pytest.mark.parametrize("size", [64, 96, 160])
def test_the_stored_mask_changes_no_bit_of_mmdets_forward_and_backward(size):
    torch.manual_seed(0)
    theirs, ours = Backbone(SWIN | {"type": "mmdet.SwinTransformer"}), Backbone(SWIN)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, size, size)
    outputs = [net(images) for net in (theirs, ours)]
    # From the stage on whose map fits into one window the rule of shifting differs.
    same = [position for position, output in enumerate(outputs[0]) if min(output.shape[-2:]) > SWIN["window_size"]]
    assert len(same) >= 2
    for position in same:
        assert torch.equal(outputs[1][position], outputs[0][position])
    for output in outputs:
        sum(output[position].square().mean() for position in same).backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, named[name].grad), name


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_windows_change_no_bit_of_mmdets_with_dropout_and_in_half_precision(precision):
    torch.manual_seed(0)
    theirs = importlib.import_module("mmdet.models.backbones.swin").WindowMSA(
        32, 4, (7, 7), attn_drop_rate=0.2, proj_drop_rate=0.2
    )
    theirs.init_weights()
    ours = WindowMSA(copy.deepcopy(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    given, mask, found = torch.randn(8, 49, 32), shift_mask((14, 14), 7, 3, torch.device("cpu")), []
    for net in (theirs, ours):
        torch.manual_seed(1)
        tokens = given.clone().requires_grad_()
        with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
            mixed = net(tokens, mask)
        mixed.float().square().sum().backward()
        found.append([mixed, tokens.grad, *(parameter.grad for _, parameter in sorted(net.named_parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_gradient_of_a_window_is_laid_into_no_zeros():
    net, images = Backbone(SWIN), torch.randn(1, 3, 64, 64)
    with Dispatched() as operations:
        sum(output.square().mean() for output in net(images)).backward()
    assert operations.calls["select_backward"] == 0 and operations.calls["stack"] >= sum(SWIN["depths"])


def test_masks_of_shifted_windows_are_made_once_a_size():
    net, images = Backbone(SWIN), torch.randn(1, 3, 224, 96)
    counts = []
    with torch.no_grad():
        for _ in range(2):
            with Dispatched() as operations:
                net(images)
            counts.append(operations.calls)
    assert counts[0].total() > counts[1].total() and counts[1]["arange"] == 0
    assert shift_mask((8, 12), 4, 2, torch.device("cpu")) is shift_mask((8, 12), 4, 2, torch.device("cpu"))


def test_the_mask_by_hand():
    mask = shift_mask(
        (2, 4), 2, 1, torch.device("cpu")
    )  # windows of 2 x 2; the last window's rows come from two places
    assert mask.shape == (2, 4, 4)
    areas = torch.tensor([[[3 * 1, 3 * 1], [3 * 2, 3 * 2]], [[3 + 1, 3 + 2], [6 + 1, 6 + 2]]]).flatten(1)
    expected = torch.where(areas[:, :, None] == areas[:, None], 0.0, -100.0)
    assert torch.equal(mask, expected)
