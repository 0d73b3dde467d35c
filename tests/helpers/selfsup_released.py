"""Files as the released code of Adam, Adam-v2, PEAC, ACE and Lamps wrote them, with drawn weights.

See ``docs/methods/self_supervision.md``, "8 Released checkpoints".
"""

from __future__ import annotations

import torch

from tests.helpers.plain_networks import PlainConvNeXt, PlainResNet, PlainViT
from tests.helpers.plain_swin import PlainSwin, randomise
from tests.helpers.released_files import SIZE, TINY, draw, swin

CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 12, 16, 24)}
VIT = {"size": SIZE, "patch": 16, "dim": 128, "depth": 4, "heads": 2}


def resnet():
    """A ResNet-50 with running statistics that are not those of its start."""
    network = randomise(PlainResNet(4), 21)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(draw(*buffer.shape, seed=len(name)).abs() + 0.5)
    return network


def networks():
    """Kind of backbone -> (the network, its state dict as it was stored)."""
    made = {
        "resnet": resnet(),
        "convnext": randomise(PlainConvNeXt(**CONVNEXT), 22),
        "vit": randomise(PlainViT(**VIT), 23),
        "swin": randomise(PlainSwin(**TINY), 24),
    }
    return {
        kind: (network, swin(network) if kind == "swin" else dict(network.state_dict()))
        for kind, network in made.items()
    }


def put(tensors, prefix):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def changed(tensors):
    """The other network of the pair: equal names, other numbers."""
    return {name: value + 1 if value.is_floating_point() else value for name, value in tensors.items()}


def around(**branches):
    """What lies beside the weights."""
    rest = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 3, "fp16_scaler": {"scale": 2.0}}
    return branches | rest


def adam(tensors):
    own = tensors | {"fc.0.weight": draw(8, 128), "fc.2.bias": draw(4)}
    queue = {"module.queue": draw(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    both = put(own, "module.encoder_q.") | put(changed(own), "module.encoder_k.") | queue
    return {"arch": "resnet50", "best_loss": 1.5} | around(state_dict=both)


def adam_v2(tensors, module=""):
    head = {
        "head.mlp.0.weight": draw(8, 8),
        "head.last_layer.weight_g": draw(9, 1),
        "head.last_layer.weight_v": draw(9, 8),
    }
    own = put(tensors, "backbone.") | {"backbone.fc.weight": draw(5, 8)} | head
    return around(
        teacher=put(own, module),
        student=put(changed(own), "module."),
        localizability_loss={"center": draw(1, 9)},
        model="resnet50",
    )


def peac(tensors):
    names = ("mlp.0.weight", "mlp_local.2.bias", "head.weight", "bias", "decoder.0.weight")
    own = put(tensors | {"head.weight": draw(5, 8)}, "swin_model.") | {name: draw(4) for name in names}
    return around(student=put(own, "module."), teacher=put(changed(own), "module."))


def ace(tensors):
    own = put(tensors, "backbone.") | {"head.mlp.0.weight": draw(8, 8), "dense_head.0.weight": draw(8, 8)}
    return around(student=put(changed(own), "module."), teacher=put(own, "module."))


def lamps(tensors):
    own = put(tensors, "backbone.") | {"decoder.blocks.0.weight": draw(8, 8), "order_head.weight": draw(4, 8)}
    own["backbone.absolute_pos_embed"] = draw(1, 256, 24)  # a yaml asks for it, the forward leaves it out
    return around(student=put(changed(own), "module."), teacher=own)


FILES = {
    "adam": (adam, "resnet"),
    "adam_v2": (adam_v2, "resnet"),
    "adam_v2 convnext": (adam_v2, "convnext"),
    "adam_v2 module": (lambda tensors: adam_v2(tensors, "module."), "resnet"),
    "peac": (peac, "swin"),
    "peac vit": (peac, "vit"),
    "ace": (ace, "swin"),
    "ace vit": (ace, "vit"),
    "lamps": (lamps, "swin"),
}
"""Name -> (what wraps a backbone's state dict, kind of the backbone)."""
