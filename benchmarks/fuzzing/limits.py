"""How much memory and time an input takes, and how much it may take."""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


def _status(key: str) -> int:
    """A size of this process in bytes, as the system counts it."""
    result = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(result.group(1)) * 1024 if result else 0


def processor_seconds(process: int) -> float:
    """Processor time that a process has had; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit_memory(further: int) -> None:
    """Lets this process take so many bytes of address space more than it has; beyond that is a MemoryError."""
    size = _status("VmSize") + further
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def measured(call: Callable[[], Found]) -> tuple[Found, float, int]:
    """What ``call`` gives, the processor time that it took, and the bytes by which it raised the peak of memory."""
    Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
    before, start = _status("VmRSS"), time.process_time()
    result = call()
    return result, time.process_time() - start, _status("VmHWM") - before
