"""The registry's cards, and cards of test data that nobody can download (``tests/registry``)."""

from pathlib import Path

from foundationx.datasets.cards.catalog import Catalog, default_folders

TEST_CARDS = Path(__file__).resolve().parents[1] / "registry"
"""Cards of the small sets of real images on which tests and benchmarks run."""


def registry() -> Catalog:
    """The cards that the package ships."""
    return Catalog(default_folders()[:1])


def all_cards() -> Catalog:
    """The cards that the package ships, and those of test data."""
    return Catalog([*default_folders()[:1], TEST_CARDS])
