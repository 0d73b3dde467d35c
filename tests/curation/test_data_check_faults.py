"""Planted faults: each is reported with its file, its row and what to do, and nothing else is."""

from __future__ import annotations

import pytest

from foundationx.curation.check.run import check_card
from foundationx.curation.issues import IssueKind
from tests.helpers.layouts import write_layout
from tests.helpers.layouts.table_faults import TABLE_FAULTS
from tests.helpers.layouts.target_faults import TARGET_FAULTS


@pytest.mark.parametrize("fault", TABLE_FAULTS + TARGET_FAULTS, ids=str)
def test_a_planted_fault_is_named_with_its_position_and_fix(fault, tmp_path):
    card = write_layout(fault.layout, tmp_path)
    fault.plant(tmp_path / fault.layout)
    if fault.card is not None:
        card = _with(card, *fault.card)
    report = check_card(card, tmp_path)
    matching = [
        issue
        for issue in report.issues
        if issue.kind is fault.kind and issue.severity is fault.severity and fault.found in issue.found
    ]
    assert len(matching) == 1, report.issues
    assert fault.file in matching[0].file
    assert fault.where in matching[0].where
    assert matching[0].fix
    consequences = {
        IssueKind.COUNTS,
        IssueKind.CLASSES,
        IssueKind.UNANNOTATED,
    }  # what is lost is also missing in the sums
    further = [issue for issue in report.issues if issue is not matching[0]]
    assert {issue.kind for issue in further} <= consequences


def _with(card, key, value):
    """The card with another value at a key such as ``expected.images``."""
    values = card.model_dump(mode="json")
    *path, last = key.split(".")
    part = values
    for name in path:
        part = part[name]
    part[last] = value
    return type(card).model_validate(values)
