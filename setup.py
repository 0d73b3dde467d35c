"""Only the list of packages, which setup.cfg cannot say: cards and configurations stand beside the package in a clone
and are installed inside it (``package_dir`` in setup.cfg)."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["foundationx", "foundationx.*"]),
        "foundationx.data_registry",
        "foundationx.configs",
    ]
)
