"""The default executor: a process for every cell, so many at once, each with its share of the
cores. It needs nothing but the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from otgan.sweep.scheduler import End

POLL = 0.2  # seconds between two looks at the processes
MOST = 8  # jobs at once, where nothing else is said: each holds its own copy of the data


class LocalExecutor:
    """Processes of this machine; an `otgan.sweep.scheduler.Executor`.

    A job is known by its place, which has its cores.
    """

    retries = 0  # who kills a process here means it, or is the system, which is out of memory

    def __init__(self, jobs: int):
        self.room = jobs
        self._at_work: dict[int, subprocess.Popen] = {}

    def submit(self, command: list[str], log: Path) -> int:
        """Start a process in a free place."""
        place = next(i for i in range(self.room) if i not in self._at_work)
        self._at_work[place] = start(command, log, share(place, self.room))
        return place

    def poll(self) -> list[tuple[int, End]]:
        """The processes that are gone."""
        time.sleep(POLL)
        gone = [place for place, process in self._at_work.items() if process.poll() is not None]
        return [(place, self._end(self._at_work.pop(place))) for place in gone]

    def cancel(self, job: int) -> None:
        """Terminate a process."""
        self._at_work[job].terminate()

    def close(self) -> None:
        """Let all processes stop, and wait for them."""
        for process in self._at_work.values():
            release(process)

    @staticmethod
    def _end(process: subprocess.Popen) -> End:
        release(process)
        return End.KILLED if process.returncode < 0 else End.EXITED


def start(command: list[str], log: Path, cores: set[int] | None = None) -> subprocess.Popen:
    """The interpreter with a command, in a session that Ctrl-C does not reach.

    Its standard input is open as long as this process lives.
    """
    command = [sys.executable, *command]
    with log.open("ab") as lines:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if cores:
        with suppress(OSError):  # it is gone already
            os.sched_setaffinity(process.pid, cores)
    return process


def release(process: subprocess.Popen) -> None:
    """Close its standard input, on which a worker that is still there stops, and wait for it."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def default_jobs(cells: int) -> int:
    """One for every core, up to a point.

    One where there are NVIDIA's accelerators, of which a process takes all memory.
    """
    alone = Path("/proc/driver/nvidia").exists()
    return 1 if alone else max(1, min(cells, len(_cores()), MOST))


def share(place: int, jobs: int) -> set[int] | None:
    """The cores of one of so many jobs: as many as any other's, or one more.

    None where the system does not say.
    """
    cores = _cores()
    if not hasattr(os, "sched_setaffinity"):
        return None
    return set(cores[place::jobs]) or {cores[place % len(cores)]}


def _cores() -> list[int]:
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else [*range(os.cpu_count() or 1)]
    )
