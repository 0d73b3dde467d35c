"""The whole of detection against mmdet's DINO with the same weights, and on mmcv's attention."""

import torch

from foundationx.core import openmmlab
from foundationx.tasks.detection import deformable
from tests.helpers.detection_samples import CHANNELS, CLASSES, SMALL, build, draw_batch, draw_features, step


def mmdet_dino(config):
    """mmdet's whole detector of the same sizes."""
    dims, heads, ffn = config.embed_dims, config.num_heads, config.ffn_dims
    feed = {"embed_dims": dims, "feedforward_channels": ffn, "ffn_drop": 0.0}
    attention = {"embed_dims": dims, "num_heads": heads, "dropout": 0.0}
    deformable_attention = {**attention, "num_levels": config.levels}
    return openmmlab.build_mm(
        {
            "type": "mmdet.DINO",
            "num_queries": config.queries,
            "with_box_refine": True,
            "as_two_stage": True,
            "num_feature_levels": config.levels,
            "backbone": {"type": "mmdet.ResNet", "depth": 18},
            "neck": {
                "type": "mmdet.ChannelMapper",
                "in_channels": list(CHANNELS[-3:]),
                "out_channels": dims,
                "kernel_size": 1,
                "act_cfg": None,
                "norm_cfg": {"type": "GN", "num_groups": 8},
                "num_outs": config.levels,
            },
            "encoder": {
                "num_layers": config.encoder_layers,
                "layer_cfg": {"self_attn_cfg": deformable_attention, "ffn_cfg": feed},
            },
            "decoder": {
                "num_layers": config.decoder_layers,
                "return_intermediate": True,
                "layer_cfg": {"self_attn_cfg": attention, "cross_attn_cfg": deformable_attention, "ffn_cfg": feed},
                "post_norm_cfg": None,
            },
            "positional_encoding": {
                "num_feats": dims // 2,
                "normalize": True,
                "offset": 0.0,
                "temperature": config.temperature,
            },
            "bbox_head": {
                "type": "DINOHead",
                "num_classes": CLASSES,
                "embed_dims": dims,
                "loss_cls": {"type": "FocalLoss", "use_sigmoid": True},
                "train_cfg": None,
            },
            "dn_cfg": {"group_cfg": {"dynamic": True, "num_dn_queries": 8}},
        }
    )


def as_mmdet(trunk, head, config):
    """Our weights under mmdet's names; the box and class heads that we share stand there once for each layer."""
    weights = dict(trunk.state_dict())
    weights |= {f"decoder.{name}": value for name, value in head.decoder.state_dict().items()}
    renamed = {"proposal_transform.0": "memory_trans_fc", "proposal_transform.1": "memory_trans_norm"}
    renamed |= {"queries": "query_embedding", "label_embedding": "dn_query_generator.label_embedding"}
    for kind, branches in (("class", "cls_branches"), ("box", "reg_branches")):
        for layer in range(config.decoder_layers):
            weights |= _prefixed(f"bbox_head.{branches}.{layer}", getattr(head, f"{kind}_head"))
        weights |= _prefixed(f"bbox_head.{branches}.{config.decoder_layers}", getattr(head, f"proposal_{kind}"))
    for own, other in renamed.items():
        weights |= _prefixed(other, head.get_submodule(own))
    return weights


def _prefixed(prefix, module):
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def with_position_of_dino(detector, monkeypatch):
    """mmdet's detector with DINO's 2 * dims numbers of a box, where this version of mmdet has 4 * dims."""
    from mmdet.models.layers.transformer import dino_layers

    dims, plain = SMALL.embed_dims, dino_layers.coordinate_to_encoding
    detector.decoder.ref_point_head = dino_layers.MLP(2 * dims, dims, dims, 2)
    half = lambda boxes, num_feats: plain(boxes, num_feats=num_feats // 2)  # noqa: E731
    monkeypatch.setattr(dino_layers, "coordinate_to_encoding", half)
    return detector


def test_equals_mmdets_dino_with_the_same_weights(monkeypatch):
    from mmdet.structures import DetDataSample

    trunk, head = build()
    theirs = with_position_of_dino(mmdet_dino(SMALL), monkeypatch).eval()
    missing, unexpected = theirs.load_state_dict(as_mmdet(trunk, head, SMALL), strict=False)
    assert not unexpected and all(name.startswith("backbone.") for name in missing)
    samples = [DetDataSample(metainfo={"batch_input_shape": (64, 64), "img_shape": (64, 64)})] * 2
    features = [feature.requires_grad_() for feature in draw_features()]

    decoded = theirs.forward_transformer(theirs.neck(tuple(features[1:])), samples)
    expected = theirs.bbox_head(decoded["hidden_states"], decoded["references"])
    outputs = head.eval()(trunk.eval()(features), trunk)
    for own, other in zip((outputs.logits[1:], outputs.boxes[1:]), expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)
        weight = torch.randn(own.shape)
        own_gradients = torch.autograd.grad((own * weight).sum(), features[1:], retain_graph=True)
        other_gradients = torch.autograd.grad((other * weight).sum(), features[1:], retain_graph=True)
        for result, wanted in zip(own_gradients, other_gradients, strict=True):
            torch.testing.assert_close(result, wanted, atol=1e-4, rtol=1e-3)


def test_a_step_equals_the_same_step_on_mmcvs_function(monkeypatch):
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch as theirs

    features, batch = draw_features(), draw_batch()
    results = []
    for function in (deformable.deformable_attention, theirs):
        monkeypatch.setattr(deformable, "deformable_attention", function)
        trunk, head = build()
        losses = step(trunk, head, features, batch)
        sum(losses.values()).backward()
        gradients = [p.grad for p in [*trunk.parameters(), *head.parameters()] if p.grad is not None]
        results.append((torch.stack(list(losses.values())), *gradients))
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5 * max(1.0, other.abs().max().item()), rtol=1e-4)
