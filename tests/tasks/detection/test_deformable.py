"""Deformable attention against mmcv's PyTorch form, against values by hand, and in low precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core import openmmlab
from foundationx.tasks.detection.deformable import DeformableAttention, deformable_attention, sample_grids
from foundationx.tasks.detection.weighted_rows import sum_rows
from tests.helpers.host_traffic import Dispatched, HostTraffic

openmmlab.prepare()

from mmcv.ops.multi_scale_deform_attn import (  # noqa: E402  (mmcv can be imported only now)
    MultiScaleDeformableAttention,
    multi_scale_deformable_attn_pytorch,
)

SHAPES = ((7, 5), (4, 3), (2, 1))


def draw(shapes, batch=2, queries=6, heads=3, features=4, points=2, seed=0):
    """Random arguments; a third of the locations lie outside the image."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(height * width for height, width in shapes)
    value = torch.randn(batch, tokens, heads, features, generator=generator)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator) * 1.5 - 0.25
    weights = torch.randn(batch, queries, heads, len(shapes) * points, generator=generator).softmax(-1)
    return value, locations, weights.view(batch, queries, heads, len(shapes), points)


def with_gradients(function, tensors):
    """Output, and gradients of a fixed random projection of it."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    torch.manual_seed(1)
    (output * torch.randn(output.shape)).sum().backward()
    return [output.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("way", [sum_rows, sample_grids])
@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    sizes=st.tuples(*[st.integers(1, 4)] * 5),
    seed=st.integers(0, 1000),
)
def test_equals_mmcv_in_output_and_gradients(way, shapes, sizes, seed):
    tensors = draw(shapes, *sizes, seed=seed)
    ours = with_gradients(lambda value, *rest: way(value, shapes, *rest), tensors)
    spatial = torch.tensor(shapes)
    theirs = with_gradients(lambda value, *rest: multi_scale_deformable_attn_pytorch(value, spatial, *rest), tensors)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_equals_mmcv_at_the_size_of_a_layer():
    shapes = ((28, 28), (14, 14), (7, 7), (4, 4))
    tensors = draw(shapes, batch=2, queries=50, heads=8, features=32, points=4)
    ours = with_gradients(lambda value, *rest: deformable_attention(value, shapes, *rest), tensors)
    spatial = torch.tensor(shapes)
    theirs = with_gradients(lambda value, *rest: multi_scale_deformable_attn_pytorch(value, spatial, *rest), tensors)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5 * max(1, other.abs().max().item()), rtol=1e-5)


@pytest.mark.parametrize("far", [-1e30, -5.0, -0.26, 1.26, 7.0, 1e30, float("inf"), float("-inf")])
@pytest.mark.parametrize("axis", [0, 1])
def test_positions_far_outside_see_nothing_and_learn_nothing(far, axis):
    value, locations, weights = draw(((2, 2), (1, 1)), 1, 3, 2, 4, 2)
    locations[..., axis] = far
    if abs(far) < 1.27:  # just outside the first level alone: the half cell around the second reaches further
        weights[..., 1, :] = 0
    for result in with_gradients(
        lambda *tensors: sum_rows(tensors[0], ((2, 2), (1, 1)), *tensors[1:]), [value, locations, weights]
    )[:3]:
        assert not result.any()


def test_a_position_that_is_nan_gives_nan_and_stops_nothing():
    """A spoilt step must reach the loss, which is watched, and not fail in an index."""
    value, locations, weights = draw(SHAPES)
    locations[0, 1, 2, 0, 0, 0] = float("nan")
    output, *gradients = with_gradients(
        lambda *tensors: sum_rows(tensors[0], SHAPES, *tensors[1:]), [value, locations, weights]
    )
    spoilt = output.isnan().view(2, 6, 3, 4)
    assert spoilt[0, 1, 2].all() and spoilt.sum() == 4
    assert gradients[0].isnan().any()


def test_no_queries_and_no_images():
    for batch, queries in ((2, 0), (0, 3)):
        tensors = draw(SHAPES, batch=batch, queries=queries)
        output, *gradients = with_gradients(lambda *inputs: sum_rows(inputs[0], SHAPES, *inputs[1:]), tensors)
        assert output.shape == (batch, queries, 12)
        assert all(found.shape == tensor.shape for found, tensor in zip(gradients, tensors, strict=True))
        assert not gradients[0].any()


def test_only_the_gradients_asked_for():
    value, locations, weights = draw(SHAPES)
    expected = with_gradients(lambda *tensors: sum_rows(tensors[0], SHAPES, *tensors[1:]), [value, locations, weights])
    weights.requires_grad_()
    output = sum_rows(value, SHAPES, locations, weights)
    torch.manual_seed(1)
    (output * torch.randn(output.shape)).sum().backward()
    torch.testing.assert_close(weights.grad, expected[3])
    assert value.grad is None and locations.grad is None


def test_in_bf16_both_ways_are_as_near_to_single_precision():
    value, locations, weights = draw(SHAPES, features=16)
    expected = with_gradients(lambda *tensors: sum_rows(tensors[0], SHAPES, *tensors[1:]), [value, locations, weights])
    low = [value.bfloat16(), locations, weights.bfloat16()]
    for way in (sum_rows, sample_grids):
        result = with_gradients(lambda *tensors, way=way: way(tensors[0], SHAPES, *tensors[1:]).float(), low)
        assert result[1].dtype == torch.bfloat16 and result[2].dtype == torch.float32
        for own, other in zip(result, expected, strict=True):
            assert (own.float() - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize("way", [sum_rows, sample_grids])
def test_nothing_is_copied_from_the_host_and_no_value_is_read(way):
    leaves = [tensor.requires_grad_() for tensor in draw(SHAPES)]
    with HostTraffic() as traffic, Dispatched() as operations:
        way(leaves[0], SHAPES, *leaves[1:]).sum().backward()
    assert not traffic.calls and not {"_local_scalar_dense", "nonzero"} & set(operations.calls)


@pytest.mark.slow
def test_compiles_in_one_piece_to_the_same_numbers():
    tensors = draw(SHAPES)
    compiled = torch.compile(deformable_attention, backend="aot_eager", fullgraph=True)
    result = with_gradients(lambda value, *rest: compiled(value, SHAPES, *rest), tensors)
    expected = with_gradients(lambda value, *rest: deformable_attention(value, SHAPES, *rest), tensors)
    for own, other in zip(result, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_values_by_hand():
    # One level of 1 x 2 cells holding 10 and 20, their centres at x = 0.25 and 0.75. Half way between them is 15;
    # a quarter of a cell left of the first centre, a quarter lies outside: 7.5.
    value = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    locations = torch.tensor([[0.25, 0.5], [0.5, 0.5], [0.125, 0.5], [-1.0, 0.5]]).view(1, 4, 1, 1, 1, 2)
    output = deformable_attention(value, [(1, 2)], locations, torch.ones(1, 4, 1, 1, 1))
    torch.testing.assert_close(output.flatten(), torch.tensor([10.0, 15.0, 7.5, 0.0]))


def test_double_precision_gradients_are_those_of_finite_differences():
    value, locations, weights = (tensor.double().requires_grad_() for tensor in draw(((3, 2), (2, 2)), 1, 2, 1, 2))
    assert torch.autograd.gradcheck(
        lambda *tensors: deformable_attention(tensors[0], ((3, 2), (2, 2)), *tensors[1:]), (value, locations, weights)
    )


def test_low_precision_keeps_the_locations():
    # Of 300 cells only one holds a one. In bf16 the location of its centre would be 0.7 cells away.
    cells, hot = 300, 251
    value = torch.zeros(1, cells, 1, 1, dtype=torch.bfloat16)
    value[0, hot] = 1
    locations = torch.tensor([(hot + 0.5) / cells, 0.5]).view(1, 1, 1, 1, 1, 2)
    output = deformable_attention(value, [(1, cells)], locations, torch.ones(1, 1, 1, 1, 1))
    assert output.dtype == torch.bfloat16 and output.item() == pytest.approx(1, abs=0.01)
    rounded = deformable_attention(value, [(1, cells)], locations.bfloat16(), torch.ones(1, 1, 1, 1, 1))
    assert rounded.item() < 0.9, "the case must be one that rounding spoils"


@pytest.mark.parametrize("coordinates", [2, 4])
def test_module_takes_mmcv_weights_and_equals_it(coordinates):
    torch.manual_seed(0)
    theirs = MultiScaleDeformableAttention(12, num_heads=3, num_levels=3, num_points=2, batch_first=True, dropout=0.0)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = DeformableAttention(12, num_heads=3, num_levels=3, num_points=2)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    tokens = sum(height * width for height, width in SHAPES)
    tensors = [
        torch.randn(2, 6, 12),
        torch.randn(2, tokens, 12),
        torch.rand(2, 6, 3, coordinates),
        torch.randn(2, 6, 12),
    ]

    def run(module, shapes):
        return lambda query, value, reference, position: module(
            query, value=value, reference_points=reference, spatial_shapes=shapes, query_pos=position, **levels
        )

    spatial = torch.tensor(SHAPES)
    levels = {"level_start_index": torch.cat([spatial.new_zeros(1), spatial.prod(1).cumsum(0)[:-1]])}
    expected = with_gradients(run(theirs, spatial), tensors)
    result = with_gradients(run(ours, SHAPES), tensors)
    for own, other in zip(result, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-4, rtol=1e-5, msg=name)


def test_start_equals_mmcv():
    theirs = MultiScaleDeformableAttention(16, num_heads=8, num_levels=2, num_points=4)
    theirs.init_weights()
    ours = DeformableAttention(16, num_heads=8, num_levels=2, num_points=4)
    for name in ("sampling_offsets.bias", "sampling_offsets.weight", "attention_weights.weight", "value_proj.bias"):
        torch.testing.assert_close(ours.get_parameter(name), theirs.get_parameter(name), atol=1e-6, rtol=0, msg=name)
