"""foundationx: one foundation model trained on many differently annotated chest X-ray datasets."""

__version__ = "0.1.0"
