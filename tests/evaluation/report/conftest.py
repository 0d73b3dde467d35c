"""The portal's browser, for the report."""

from tests.apps.portal.conftest import browser, visit

__all__ = ["browser", "visit"]
