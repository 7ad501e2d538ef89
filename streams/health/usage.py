"""What this process uses of the machine."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

_STATM = Path("/proc/self/statm")
_RESIDENT = 1  # the second number of statm, in pages
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """CPU time of all threads of a process in seconds, and its resident memory in bytes."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0


def usage() -> Usage:
    """Measure this process; where the system does not tell what is resident now, memory is the most that ever was."""
    return Usage(time.process_time(), _resident())


def _resident() -> int:
    try:
        return int(_STATM.read_text().split()[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
