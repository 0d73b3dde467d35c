"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side, one a core. Before torch is imported, and for the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files beside the project; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FOUNDATIONX_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"real test files are absent: {folder} (set FOUNDATIONX_SHARED)")
    return folder


# Whoever changes the code searches anew each time; CI, which judges a change, must not depend on luck.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
