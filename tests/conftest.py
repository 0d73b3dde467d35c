"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run side by side, one a core. Before torch is imported, and for the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files beside the project; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FOUNDATIONX_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"real test files are absent: {folder} (set FOUNDATIONX_SHARED)")
    return folder
