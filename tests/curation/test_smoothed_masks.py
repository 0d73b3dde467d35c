"""Masks stored as JPEG or smoothed: without a value in the card, the noise around the outline would be foreground."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foundationx.curation.check.run import check_card
from tests.helpers.reader_cards import Folder, make_card

Y, X = np.mgrid[0:128, 0:128]
DISC = (((Y - 64) ** 2 + (X - 64) ** 2 < 30**2) * 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["jpg", "resized", "plain", "one"])
def test_a_mask_of_many_values_is_told(tmp_path, how):
    folder = Folder(tmp_path)
    suffix = "jpg" if how == "jpg" else "png"
    folder.files("images/a.png", f"masks/a.{suffix}")
    Image.fromarray(DISC // 2).save(folder.path / "images" / "a.png")
    mask = Image.fromarray(DISC // 255 if how == "one" else DISC)
    if how == "resized":
        mask = mask.resize((60, 60), Image.Resampling.BILINEAR).resize((128, 128), Image.Resampling.BILINEAR)
    mask.save(folder.path / "masks" / f"a.{suffix}")
    options = {"folders": {"Lung": "masks"}, "mask_name": f"{{image_stem}}.{suffix}"}
    report = check_card(make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options), tmp_path)
    told = [issue for issue in report.issues if "every pixel but 0 is foreground" in issue.found]
    assert len(told) == (how in ("jpg", "resized"))
    for issue in told:
        assert issue.severity.value == "warning"
        assert "positive: 255" in issue.fix
