"""Freed memory stays with the process: page faults are counted with and without, in processes of their own."""

import os
import subprocess
import sys

import pytest

from foundationx.core.memory import keep_freed_memory

ROUNDS, BLOCKS, SIZE = 10, 8, 8 * 2**20
SCRIPT = f"""
import ctypes, resource, sys
from foundationx.core.memory import is_freed_memory_kept, keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory() and is_freed_memory_kept()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def a_step():
    blocks = [libc.malloc({SIZE}) for _ in range({BLOCKS})]
    for block in blocks:
        ctypes.memset(block, 1, {SIZE})
    for block in blocks:
        libc.free(block)
a_step()
a_step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    a_step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="another allocator than glibc's")


def faults(what):
    """Page faults of all rounds."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True)
    return int(ended.stdout)


@needs_glibc
def test_blocks_that_were_freed_are_used_again_without_a_page_fault():
    pages = ROUNDS * BLOCKS * SIZE // os.sysconf("SC_PAGE_SIZE")
    assert faults("keep") < 100
    assert faults("leave") > pages / 20, "without it they are fetched from the system again"


@pytest.mark.parametrize(
    "variables", [{"MALLOC_TRIM_THRESHOLD_": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1"}]
)
def test_what_the_user_has_set_stands(variables):
    assert not keep_freed_memory(variables)


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "confstr_names", {})
    assert not keep_freed_memory({})
