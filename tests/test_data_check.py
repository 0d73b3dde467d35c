"""A dataset's folder held against its card: whole folders in every published layout."""

from __future__ import annotations

import pytest
from layouts import LAYOUTS, write_layout

from foundationx.check.findings import Severity
from foundationx.check.run import check_card
from foundationx.data.annotations import reader_names


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_whole_folder_in_its_published_layout_has_no_fault(name, tmp_path):
    card = write_layout(name, tmp_path)
    report = check_card(card, tmp_path)
    assert [finding for finding in report.findings if finding.severity is not Severity.NOTE] == []
    assert report.decoded == report.images > 0


def test_every_reader_has_a_layout(tmp_path):
    cards = [write_layout(name, tmp_path) for name in LAYOUTS]
    assert {spec.reader for card in cards for spec in card.tasks.values()} == set(reader_names())
