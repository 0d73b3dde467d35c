"""The portal's page: one HTML file with its styles, scripts and data, which asks no other host for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundationx.apps.portal.facts import portal_facts
from foundationx.core.strict_json import to_json
from foundationx.datasets.cards.catalog import Catalog

ASSETS = Path(__file__).parent / "assets"
FIRST = ("core.js", "index.js")
"""Scripts that the others build on; the others follow in alphabetical order."""

STYLE, SCRIPT, FACTS, POLICY = "/*STYLE*/", "/*SCRIPT*/", "/*FACTS*/", "POLICY"
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
    text = to_json(facts | {"server": server}, ascii_only=False).replace("<", "\\u003c")
    page, style = (_asset(name) for name in ("page.html", "style.css"))
    script = "\n".join(_asset(name) for name in script_names())
    images, questions = ("'self' data: blob:", "'self'") if server else ("data: blob:", "'none'")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        f"img-src {images}; connect-src {questions}; base-uri 'none'; form-action 'none'"
    )
    for place, content in ((POLICY, policy), (STYLE, style), (SCRIPT, script), (FACTS, text)):
        page = page.replace(place, content, 1)  # the facts come last: a title may hold the name of a placeholder
    return page


def script_names() -> list[str]:
    """Names of the scripts, in the order in which they run."""
    names = sorted(path.name for path in ASSETS.glob("*.js"))
    return [*FIRST, *(name for name in names if name not in FIRST)]


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
