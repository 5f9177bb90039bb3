"""The default engine: a process for every cell, so many at once, each with its share of the cores. It needs nothing but the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from otgan.signals import interruptible
from otgan.sweep.ledger import Cell, Ledger

WORKER = ("-P", "-m", "otgan.sweep.worker")  # -P: a file of the current folder takes no module's place
POLL = 0.2  # seconds between two looks at the processes
MOST = 8  # jobs at once, where nothing else is said: each holds its own copy of the data


class Watch(Protocol):
    """Who is told how a sweep goes."""

    def ended(self, cell: Cell, interrupted: bool) -> bool:
        """A cell's process is gone, perhaps because the sweep was interrupted. Returns whether the cell failed."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...


@dataclass(frozen=True)
class Order:
    """What an engine is to do.

    Attributes:
        ledger: where.
        cells: in this order.
        measures: what every cell is judged by.
        data_dir: where prepared data are.
        jobs: how many at once; None leaves it to the engine.
        max_failures: begin no cell after so many have failed; None goes on.
    """

    ledger: Ledger
    cells: tuple[Cell, ...]
    measures: tuple[str, ...] = ()
    data_dir: Path | None = None
    jobs: int | None = None
    max_failures: int | None = None

    def enough(self, failures: int) -> bool:
        """Whether so many failures end the sweep."""
        return self.max_failures is not None and failures >= self.max_failures

    def command(self, cell: Cell) -> tuple[list[str], Path]:
        """What the interpreter is told to run a cell, and the file that takes what it prints."""
        data = ["--data-dir", str(self.data_dir.resolve())] if self.data_dir else []
        folder = self.ledger.folder(cell.id)
        return [*WORKER, str(folder.path.resolve()), "--measures", ",".join(self.measures), "--with-parent", *data], folder.log.resolve()


def run_local(order: Order, watch: Watch) -> bool:
    """Work cells off, side by side. Returns whether it was interrupted; then no process of it is left."""
    waiting, failures, told = deque(order.cells), 0, 0
    jobs = order.jobs or default_jobs(len(waiting))
    running: dict[int, tuple[subprocess.Popen, Cell]] = {}  # by place, which has its cores
    with interruptible(again=True) as seen:
        try:
            while running or (waiting and not seen and not order.enough(failures)):
                while waiting and len(running) < jobs and not seen and not order.enough(failures):
                    place = next(i for i in range(jobs) if i not in running)
                    cell = waiting.popleft()
                    running[place] = start(*order.command(cell), share(place, jobs)), cell
                for place, (process, cell) in list(running.items()):
                    if process.poll() is not None:
                        del running[place]
                        release(process)
                        failures += watch.ended(cell, bool(seen))
                if len(seen) > told:
                    told = len(seen)
                    for process, _ in running.values():
                        process.terminate()
                watch.tick()
                time.sleep(POLL)
        finally:
            for process, _ in running.values():
                release(process)
    return bool(seen)


def start(command: list[str], log: Path, cores: set[int] | None = None) -> subprocess.Popen:
    """The interpreter with a command, in a session that Ctrl-C does not reach; its standard input is open as long as this process lives."""
    command = [sys.executable, *command]
    with log.open("ab") as lines:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True)
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
    """One for every core, up to a point; one where there are NVIDIA's accelerators, of which a process takes all memory."""
    alone = Path("/proc/driver/nvidia").exists()
    return 1 if alone else max(1, min(cells, len(_cores()), MOST))


def share(place: int, jobs: int) -> set[int] | None:
    """The cores of one of so many jobs: as many as any other's, or one more; None where the system does not say."""
    cores = _cores()
    if not hasattr(os, "sched_setaffinity"):
        return None
    return set(cores[place::jobs]) or {cores[place % len(cores)]}


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
