"""The portal's page: one HTML file with its styles, scripts and data, which asks no other host for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundationx.apps.portal.facts import DETAILS, portal_facts
from foundationx.core.strict_json import to_json
from foundationx.datasets.cards.catalog import Catalog

ASSETS = Path(__file__).parent / "assets"
FIRST = ("core.js", "index.js")
"""Scripts that the others build on; the others follow in alphabetical order."""

STYLE, SCRIPT, FACTS, DETAILED, POLICY = "/*STYLE*/", "/*SCRIPT*/", "/*FACTS*/", "/*DETAILS*/", "POLICY"
"""Placeholders in ``page.html``."""


def portal_page(catalog: Catalog, tables: Sequence[Path] = (), server: bool = False) -> str:
    """The HTML of the page.

    Args:
        catalog: Catalog of the cards.
        tables: Public tables of datasets, as for ``data fuse``; their datasets are added to those of the cards.
        server: Whether the page is served by ``foundationx portal``, so that it may ask the server.

    Raises:
        CardError: A card is invalid.
        RecipeError: A table cannot be read.
    """
    return page_of(portal_facts(catalog, tables), server)


def page_of(facts: dict[str, Any], server: bool = False) -> str:
    """The HTML of the page for facts that are already gathered.

    The content security policy names the digests of the page's own script and style, so a browser runs nothing else.

    Args:
        facts: As ``portal_facts`` returns them.
        server: Whether the page may ask the server that it comes from.
    """
    listed, details = small(facts)
    texts = [to_json(part, ascii_only=False).replace("<", "\\u003c") for part in (listed | {"server": server}, details)]
    page, style = (_asset(name) for name in ("page.html", "style.css"))
    script = "\n".join(_asset(name) for name in script_names()) + "\nstart();\n"
    images, questions = ("'self' data: blob:", "'self'") if server else ("data: blob:", "'none'")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        f"img-src {images}; connect-src {questions}; base-uri 'none'; form-action 'none'"
    )
    contents = {POLICY: policy, STYLE: style, SCRIPT: script, DETAILED: texts[1], FACTS: texts[0]}
    for place, content in contents.items():  # a title may hold the name of a placeholder: each is replaced before
        page = page.replace(place, content, 1)  # what stands in front of it in the page
    return page


def script_names() -> list[str]:
    """Names of the scripts, in the order in which they run."""
    names = sorted(path.name for path in ASSETS.glob("*.js"))
    return [*FIRST, *(name for name in names if name not in FIRST)]


CLASS = {"task": None, "name": None, "concept": None, "positives": None, "relation": "exact", "polarity": "presence"}
"""Keys of a class in the order in which ``index.js`` reads them, and their usual values."""


def small(facts: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The facts in the form of the page, which is read quickly with thousands of datasets; ``index.js`` reads it.

    Args:
        facts: As ``portal_facts`` returns them.

    Returns:
        The facts, with datasets without details and without the values that are as in ``usual``, and classes as lists
        of numbers of the list ``words``; and the details of each dataset.
    """
    words: dict[str | None, int] = {}
    usual = {key: value for key, value in _usual(facts["datasets"]).items() if key not in ("classes", *DETAILS)}
    listed = []
    for dataset in facts["datasets"]:
        kept = {name: value for name, value in dataset.items() if name in usual and _plain(value) != usual[name]}
        listed.append(kept | {"classes": [_numbers(each, words) for each in dataset["classes"]]})
    details = [{name: dataset[name] for name in DETAILS} for dataset in facts["datasets"]]
    return facts | {"datasets": listed, "usual": usual, "words": list(words)}, details


def _usual(datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What most facts are where nothing is known: null, or empty in the form that they have elsewhere."""
    usual: dict[str, Any] = {}
    for dataset in datasets:
        for name, value in dataset.items():
            if usual.get(name) is None:
                usual[name] = type(_plain(value))() if isinstance(value, list | tuple | dict) else None
    return usual


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _numbers(each: Mapping[str, Any], words: dict[str | None, int]) -> list[int | None]:
    """A class as numbers of words, without the usual values at its end; the number of images stands for itself."""
    values = [each[key] for key in CLASS]
    end = max(at + 1 for at, (value, usual) in enumerate(zip(values, CLASS.values(), strict=True)) if value != usual)
    kept = zip(CLASS, values[:end], strict=False)
    return [value if key == "positives" else words.setdefault(value, len(words)) for key, value in kept]


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
