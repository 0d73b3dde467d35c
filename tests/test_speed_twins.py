"""What is done for speed is held against its plain twin."""

import pytest
import torch

from foundationx.errors import ConfigError
from foundationx.models.backbone import Backbone

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
