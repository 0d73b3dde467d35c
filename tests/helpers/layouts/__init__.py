"""Small folders of phantoms in the layouts in which datasets are published, each with its card."""

from tests.helpers.layouts.published import LAYOUTS, write_layout

__all__ = ["LAYOUTS", "write_layout"]
