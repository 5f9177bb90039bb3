"""The default executor: a process for every cell, so many at once, each with its share of the
cores. It needs nothing but the folder.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from otgan.sweep.scheduler import End

POLL = 0.2  # seconds between two looks at the processes
GRACE = 30.0  # seconds that a process has to save its state when its time is over
HASTE = 5.0  # seconds that it has to stop at once: more than it takes for that itself
DEAF = "was told twice to stop, and did not answer: killed"  # the last words of such a cell
MOST = 8  # jobs at once, where nothing else is said: each holds its own copy of the data


class LocalExecutor:
    """Processes of this machine; an `otgan.sweep.scheduler.Executor`.

    A job is known by its place, which has its cores.

    Args:
        jobs: how many at once.
        limit: seconds that each may take.
    """

    retries = 0  # who kills a process here means it, or is the system, which is out of memory

    def __init__(self, jobs: int, limit: float | None = None):
        self.room, self._limit = jobs, limit
        self._at_work: dict[int, Work] = {}

    def submit(self, command: list[str], log: Path) -> int:
        """Start a process in a free place."""
        place = next(i for i in range(self.room) if i not in self._at_work)
        self._at_work[place] = Work(command, log, self._limit, share(place, self.room))
        return place

    def poll(self) -> list[tuple[int, End]]:
        """The processes that are gone."""
        time.sleep(POLL)
        gone = [place for place, work in self._at_work.items() if work.has_ended()]
        codes = {place: self._at_work.pop(place).end() for place in gone}
        return [(place, End.KILLED if code < 0 else End.EXITED) for place, code in codes.items()]

    def cancel(self, job: int) -> None:
        """Terminate a process; told again it stops at once, or is killed."""
        self._at_work[job].cancel()

    def close(self) -> None:
        """Let all processes stop, for which they have `GRACE` seconds together."""
        until = time.monotonic() + GRACE
        for work in self._at_work.values():
            work.leave()
        for work in self._at_work.values():
            work.end(until)


class Work:
    """A job's process, which may take so many seconds.

    After that it is told to save its state and stop, as if Ctrl-C were pressed; one that hangs, and
    does not, is killed.
    """

    def __init__(
        self, command: list[str], log: Path, limit: float | None, cores: set[int] | None = None
    ):
        self.process = start(command, log, cores)
        self._log, self._limit, self._began = log, limit, time.monotonic()
        self._told: float | None = None  # when it was told that its time is over
        self._words = ""  # what its log says of that
        self._cancelled, self._until = 0, math.inf  # when it must have stopped

    def cancel(self) -> None:
        """Tell it to save its state and stop; told again it is to stop at once, and is killed if it
        has not within `HASTE` seconds, or when it is told once more.
        """
        self._cancelled += 1
        if self._cancelled > 2:
            self.process.kill()
            return
        self.process.terminate()
        if self._cancelled == 2:
            self._until = time.monotonic() + HASTE

    def has_ended(self) -> bool:
        """Whether it has; one whose time is over is told to stop, and killed if it does not."""
        if self.process.poll() is not None:
            return True
        now = time.monotonic()
        if self._told is not None:
            if now - self._told > GRACE:
                self._kill(self._over("did not answer: killed"))
        elif self._limit and now - self._began > self._limit:
            self._told, self._words = now, self._over("was told to save its state and stop")
            self.process.terminate()
        if now > self._until:
            self._kill(DEAF)
        return False

    def leave(self) -> None:
        """Close its standard input, on which a worker that is still there stops."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self, until: float = math.inf) -> int:
        """Let it stop, and wait for it; it is killed at that time, or when its own is over. Returns
        its exit code.

        That of one whose time was over is no signal's: to try again would take as long.
        """
        self.leave()
        while not self.has_ended():
            if time.monotonic() > until:
                self._kill(self._words or "was told to stop, and did not answer: killed")
                self.process.wait()
            time.sleep(POLL)
        if self._words:
            with self._log.open("a") as lines:
                lines.write(f"{self._words}\n")
        code = self.process.returncode
        return code if self._told is None else abs(code)

    def _over(self, told: str) -> str:
        return f"took more than {self._limit:g} seconds (--cell-timeout) and {told}"

    def _kill(self, words: str) -> None:
        self.process.kill()
        self._words = words


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
