"""View pipelines from plain dictionaries of options."""

from foundationx.core.config.views import GeometryConfig, PhotometryConfig
from foundationx.data.transforms.augment import ViewPipeline


def make_pipeline(size, geometry=None, photometry=None, teacher="same"):
    """A pipeline whose options are named as in a configuration."""
    return ViewPipeline(size, GeometryConfig(**(geometry or {})), PhotometryConfig(**(photometry or {})), teacher)
