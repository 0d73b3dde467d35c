"""Masks stored as JPEG or smoothed: the noise around the outline would be foreground, or the rim background."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foundationx.core.errors import DataError
from foundationx.core.types import Task
from foundationx.curation.check.run import check_card
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.annotations import read_annotations
from tests.helpers.reader_cards import Folder, make_card

Y, X = np.mgrid[0:128, 0:128]
DISC = (((Y - 64) ** 2 + (X - 64) ** 2 < 30**2) * 255).astype(np.uint8)


def card_of(folder, mask, name="a.png", positive=None):
    """The card of one image with a mask."""
    folder.files("images/a.png", f"masks/{name}")
    Image.fromarray(DISC // 2).save(folder.path / "images" / "a.png")
    mask.save(folder.path / "masks" / name)
    options = {"folders": {"Lung": "masks"}, "mask_name": name, "positive": positive}
    return make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options)


@pytest.mark.parametrize("how", ["resized", "plain", "one"])
def test_a_mask_of_many_values_is_told(tmp_path, how):
    mask = Image.fromarray(DISC // 255 if how == "one" else DISC)
    if how == "resized":
        mask = mask.resize((60, 60), Image.Resampling.BILINEAR).resize((128, 128), Image.Resampling.BILINEAR)
    report = check_card(card_of(Folder(tmp_path), mask), tmp_path)
    told = [issue for issue in report.issues if "every pixel but 0 is foreground" in issue.found]
    assert len(told) == (how == "resized")
    for issue in told:
        assert issue.severity.value == "warning"
        assert "positive: 255" in issue.fix


@pytest.mark.parametrize("positive", [None, 255])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_whose_outline_jpeg_has_changed_is_refused_with_the_way_out(tmp_path, positive, mode):
    folder = Folder(tmp_path)
    card = card_of(folder, Image.fromarray(DISC).convert(mode), "a.jpg", positive)
    table = read_annotations(card, Task.SEGMENTATION, tmp_path)
    with pytest.raises(DataError) as caught:
        CardDataset(table, folder.path, ViewPipeline(32)).target(0, DISC.shape)
    assert "is a JPEG with" in caught.value.found
    assert "128 and above becomes 255" in caught.value.fix
    (issue,) = [issue for issue in check_card(card, tmp_path).issues if issue.found == caught.value.found]
    assert issue.severity.value == "fault"
    mended = np.where(np.asarray(Image.open(folder.path / "masks" / "a.jpg").convert("L")) >= 128, 255, 0)
    assert (mended == DISC).mean() > 0.998  # what the message advises gives back the disc but for single pixels


def test_a_jpeg_that_keeps_its_two_values_is_taken(tmp_path):
    blocks = np.zeros((128, 128), np.uint8)
    blocks[32:64, 16:96] = 255  # whole blocks of 8 x 8, which JPEG keeps
    folder = Folder(tmp_path)
    table = read_annotations(card_of(folder, Image.fromarray(blocks), "a.jpg", 255), Task.SEGMENTATION, tmp_path)
    target = CardDataset(table, folder.path, ViewPipeline(32)).target(0, blocks.shape)
    assert (target.masks[0] == (blocks > 0)).all()
