"""The one scheduler of a sweep: which cell is begun when, what is tried again, what Ctrl-C does,
and who is told.

It knows no processes. Where a cell runs is an executor's: processes of this machine
(`otgan.sweep.local_executor`), or tasks of a Ray cluster (`otgan.sweep.ray_executor`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from otgan.signals import interruptible
from otgan.sweep.folder import Cell, SweepFolder

# -P: a file of the current folder takes no module's place
WORKER = ("-P", "-m", "otgan.sweep.worker")


class End(Enum):
    """How a job came to its end."""

    EXITED = "by itself, whatever its exit code"
    KILLED = "its process was killed, or the machine went down: no fault of the cell's"
    CANCELLED = "it was cancelled, and perhaps never begun"


@runtime_checkable
class Executor(Protocol):
    """Where jobs run. Whoever submits one gets something to know it by, which can be hashed."""

    @property
    def room(self) -> int:
        """How many jobs may be submitted at once."""
        ...

    @property
    def retries(self) -> int:
        """How often a job is tried again that was killed."""
        ...

    def submit(self, command: list[str], log: Path) -> Any:
        """Begin a job, now or when there is room: the interpreter, with a command, whose output is
        added to a file.
        """
        ...

    def poll(self) -> Sequence[tuple[Any, End]]:
        """The jobs that have ended since it was asked last, and how; it waits a moment for one."""
        ...

    def cancel(self, job: Any) -> None:
        """Tell a job to save its state and stop; told again it is to stop at once, and is killed if
        it does not. It has ended when `poll` says so.
        """
        ...

    def close(self) -> None:
        """Stop what is still at work."""
        ...


@runtime_checkable
class Watch(Protocol):
    """Who is told how a sweep goes."""

    def ended(self, cell: Cell, interrupted: bool) -> bool:
        """A cell's job is gone, perhaps because the sweep was interrupted.

        Returns whether the cell failed.
        """
        ...

    def interrupted(self, at_work: int, again: bool) -> None:
        """A signal has arrived, perhaps not the first, and so many cells that are at work are told
        to save and stop; told again they stop at once.
        """
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...


@dataclass(frozen=True)
class Worklist:
    """What is to be done.

    Attributes:
        folder: of the sweep.
        cells: in this order.
        measures: what every cell is judged by.
        data_dir: where prepared data are.
        max_failures: begin no cell after so many have failed; None goes on.
    """

    folder: SweepFolder
    cells: tuple[Cell, ...]
    measures: tuple[str, ...] = ()
    data_dir: Path | None = None
    max_failures: int | None = None

    def command(self, cell: Cell) -> tuple[list[str], Path]:
        """What the interpreter is told to run a cell, and the file that takes what it prints."""
        data = ["--data-dir", str(self.data_dir.resolve())] if self.data_dir else []
        folder = self.folder.folder(cell.id)
        return [
            *WORKER,
            str(folder.path.resolve()),
            "--measures",
            ",".join(self.measures),
            "--with-parent",
            *data,
        ], folder.log.resolve()


def work_off(worklist: Worklist, executor: Executor, watch: Watch) -> int | None:
    """Work cells off. Returns the number of the signal that interrupted it, if one did; then no job
    of it is left.

    A first Ctrl-C or termination cancels all jobs, and no more are begun; each further one cancels
    again those that are still there, which then stop at once or are killed.
    """
    with interruptible(again=True) as signals, closing(executor):
        scheduler, told = Scheduler(worklist, executor, watch, signals), 0
        while scheduler.busy:
            scheduler.begin()
            scheduler.collect()
            if len(signals) > told:
                told = len(signals)
                watch.interrupted(scheduler.at_work, told > 1)
                scheduler.cancel()
            watch.tick()
    return signals[0] if signals else None


class Scheduler:
    """The cells that wait, those at work, and how many have failed."""

    def __init__(
        self, worklist: Worklist, executor: Executor, watch: Watch, signals: Sequence[int]
    ):
        self._worklist, self._executor, self._watch, self._signals = (
            worklist,
            executor,
            watch,
            signals,
        )
        self._waiting = deque(worklist.cells)
        self._at_work: dict[Hashable, Cell] = {}
        self._begun: Counter[str] = Counter()  # how often, by cell
        self._failures = 0

    @property
    def _may_begin(self) -> bool:
        most = self._worklist.max_failures
        return bool(self._waiting) and not self._signals and (most is None or self._failures < most)

    @property
    def at_work(self) -> int:
        """How many cells are."""
        return len(self._at_work)

    @property
    def busy(self) -> bool:
        """Whether anything is at work, or can be begun."""
        return bool(self._at_work) or self._may_begin

    def begin(self) -> None:
        """Submit the next cells, as far as there is room."""
        while self._may_begin and len(self._at_work) < self._executor.room:
            self._submit(self._waiting.popleft())

    def collect(self) -> None:
        """Take the jobs that have ended: those that were killed are tried again, of the others the
        watch is told.
        """
        for job, end in self._executor.poll():
            cell = self._at_work.pop(job)
            if (
                end is End.KILLED
                and self._begun[cell.id] <= self._executor.retries
                and not self._signals
            ):
                self._submit(cell)
            elif end is not End.CANCELLED:
                self._failures += self._watch.ended(cell, bool(self._signals))

    def cancel(self) -> None:
        """Cancel what is at work."""
        for job in self._at_work:
            self._executor.cancel(job)

    def _submit(self, cell: Cell) -> None:
        self._begun[cell.id] += 1
        self._at_work[self._executor.submit(*self._worklist.command(cell))] = cell
