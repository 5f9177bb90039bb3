"""How much memory examples may take."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from otgan.config import Size
from otgan.data.examples import MOST_BYTES
from otgan.data.ondisk import gib

SHARE = 0.25
"""Of the free memory: examples are read, split and put on the device, which takes them three times
over at its height.
"""

MEMINFO = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def room(memory: Size | None) -> int:
    """Bytes that examples may take: what is asked for, or a quarter of what is free; never more
    than is read into memory at all.
    """
    return min(MOST_BYTES, int(SHARE * free()) if memory is None else memory.bytes)


def free() -> int:
    """Bytes of memory that are free, as far as the system says so; at most a container's limit."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError, IndexError):
        (line,) = [x for x in MEMINFO.read_text().splitlines() if x.startswith("MemAvailable:")]
        there = min(there, int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # the word max where there is no limit
        there = min(there, int(LIMIT.read_text()))
    return there


def told(name: str, size: int, most: int) -> str:
    """That examples stay on the disk, and why."""
    return (
        f"{name}: {gib(size)} of examples stay on the disk and are read in time: more than"
        f" {gib(most)} (data.max_memory)"
    )
