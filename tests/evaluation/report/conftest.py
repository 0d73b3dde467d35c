"""The report's browser."""

from tests.helpers.browsing import browser, visit

__all__ = ["browser", "visit"]
