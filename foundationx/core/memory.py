"""Memory that is freed stays with the process, so that the next step finds it again.

glibc's allocator gives large blocks back to the system when they are freed: gradients and activations at the end of a
step. The next step is given fresh pages, which the system has to clear one fault at a time. Two settings end that; what
a process holds at most stays the same, but it keeps that until it ends.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of the settings in glibc's ``malloc.h``."""

_NEVER = -1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""The most bytes that glibc takes; larger blocks are always the system's."""

_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


_state = {"is_kept": False}


def keep_freed_memory(environment: Mapping[str, str] | None = None) -> bool:
    """Keeps freed memory in this process and in those that it forks, if the allocator is glibc's.

    Args:
        environment: Variables of the process; its own if None. If the user has set the allocator there, that stands.

    Returns:
        Whether it is kept.
    """
    environment = os.environ if environment is None else environment
    if any(name in environment for name in _USERS_OWN) or "glibc.malloc" in environment.get("GLIBC_TUNABLES", ""):
        return False
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    _state["is_kept"] = all((mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), mallopt(_TRIM_THRESHOLD, _NEVER)))
    return _state["is_kept"]


def is_freed_memory_kept() -> bool:
    """Whether this process was told to keep what it frees."""
    return _state["is_kept"]
