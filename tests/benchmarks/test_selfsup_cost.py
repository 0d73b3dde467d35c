"""Passes through the backbone that each objective asks for, by hand from ``docs/methods/self_supervision.md``,
"7.8 Cost per image"."""

import pytest
from selfsup_cost import count_passes, swin_gflop

from foundationx.phantoms.write import write_phantom_datasets

BY_HAND = {
    "adam": {"contrast": ({224: 1}, {224: 1})},
    "adam_v2": {
        "localise": ({224: 2, 96: 8}, {224: 2}),  # the student sees all ten crops, the teacher two
        "localise + compose + decompose": ({224: 6, 96: 8}, {224: 5}),  # whole, centred and four parts; no centred
    },
    "peac": {"order + restore + global + local": ({448: 2}, {448: 2})},
    "ace": {"global + divide + compose": ({448: 2}, {448: 2})},
    "lamps": {  # the first three: half of the described ones, which count two crops of an image
        "extrapolate": ({352: 1}, {448: 1}),
        "order + coherence": ({448: 1}, {448: 1}),
        "compose + decompose": ({448: 1, 224: 4}, {448: 1, 224: 4}),
        "global + local": ({448: 2}, {448: 2}),
    },
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_phantom_datasets(folder, {"phantom_labels": 6}, size=64, processes=1)
    return folder


@pytest.mark.parametrize("name", BY_HAND)
def test_passes_through_the_backbone_are_those_of_the_page(images, name):
    result = count_passes(name, images)
    assert {losses: (passes.student, passes.teacher) for losses, passes in result.items()} == BY_HAND[name]


def test_arithmetic_of_swin_is_the_published_one():
    """Swin-B: 15.4 GMAC at 224 (Liu et al. 2021, table 1), and at twice the side four times as much."""
    assert swin_gflop(224) / 2 == pytest.approx(15.4, rel=0.02)
    assert swin_gflop(448) == pytest.approx(4 * swin_gflop(224), rel=1e-9)
    tiny = swin_gflop(224, width=96, depths=(2, 2, 6, 2))
    assert tiny / 2 == pytest.approx(4.5, rel=0.04)
