"""Licences of cards are SPDX expressions, and fusion reads what they permit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from foundationx.datasets.cards.card import Licence
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.spdx import holds, identifiers, licence_ref, normalised
from foundationx.datasets.cards.strict_yaml import read_yaml
from foundationx.datasets.fusion.licences import conditions_of, is_among


def licence(**values) -> Licence:
    return Licence.model_validate({"name": "x", "redistribution": "unknown", "commercial": "unknown"} | values)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cc-by-4.0", "CC-BY-4.0"),
        ("LicenseRef-data-use.1 and MIT", "LicenseRef-data-use.1 AND MIT"),
        ("GPL-2.0-only with Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
    ],
)
def test_expressions_are_normalised(written, meant):
    assert normalised(written) == licence(spdx=written).spdx == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("CC BY 4.0", "did you mean 'CC-BY-4.0'"),
        ("y", "write LicenseRef-y if SPDX has none"),
        ("(MIT", "is no SPDX expression"),
        ("MIT AND", "is no SPDX expression"),
    ],
)
def test_what_is_no_expression_is_refused(written, message):
    with pytest.raises(ValidationError, match=message) as caught:
        licence(spdx=written)
    assert len(str(caught.value)) < 600


def test_a_licence_that_spdx_does_not_have_is_named_after_itself():
    assert licence(name="research use, by e-mail (2021)").spdx == "LicenseRef-research-use-by-e-mail-2021"
    assert normalised(licence_ref("Übereinkunft")) == "LicenseRef-bereinkunft"
    assert licence_ref("???") == "LicenseRef-unnamed"


def test_every_card_of_the_registry_gives_its_expression():
    catalog = Catalog()
    for name in catalog.names():
        assert read_yaml(catalog.card(name).file)["licence"].get("spdx"), f"{name}: give licence.spdx"


def test_all_parts_must_be_allowed_or_one_of_a_choice():
    assert identifiers("MIT AND (CC0-1.0 OR LicenseRef-x)") == ("MIT", "CC0-1.0", "LicenseRef-x")
    assert holds("MIT AND (CC0-1.0 OR LicenseRef-x)", lambda name: name != "LicenseRef-x")
    assert not holds("MIT AND LicenseRef-x", lambda name: name != "LicenseRef-x")
    assert is_among("terms", "MIT AND CC0-1.0", ["cc0 1.0", "MIT"])
    assert not is_among("terms", "MIT AND LicenseRef-by-image", ["MIT"])
    assert is_among("terms", "LicenseRef-x", ["Terms"]) and not is_among(None, None, ["MIT"])


def test_conditions_of_every_part_count():
    assert conditions_of("mixed", "CC-BY-NC-4.0 AND CC-BY-SA-4.0") == (
        "the source is named",
        "no commercial use",
        "adaptations under the same licence",
    )
    assert conditions_of("CC BY 4.0", None) == ("the source is named",)
    assert conditions_of("own", "LicenseRef-own") == ()
