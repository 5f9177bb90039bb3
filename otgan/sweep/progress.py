"""How a sweep goes, from the folders of its cells alone: a live board on a terminal, plain lines
elsewhere. No JAX.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from otgan.budgets import share_used
from otgan.console import LINE_SECONDS, clock
from otgan.plain import from_json
from otgan.results.state import RunState
from otgan.runs import RunFolder
from otgan.sweep.folder import Cell, SweepFolder

LOOK_SECONDS = 1.0  # between two looks at the folders
EARLY = "interrupted before its training began"
SHOWN = 16  # cells on the board
TAIL = 4096  # bytes at the end of a file that hold its last line


class AtWork(NamedTuple):
    """A cell at work."""

    cell: Cell
    share: float  # of its training
    words: str


class Board:
    """Shows a sweep's progress; an `otgan.sweep.scheduler.Watch`."""

    def __init__(
        self, folder: SweepFolder, cells: Sequence[Cell], measures: Sequence[str], console: Console
    ):
        self._folder, self._measures, self._console = folder, measures, console
        self._left = {cell.id: cell for cell in cells}
        self._shares = {cell.id: seen(folder.folder(cell.id), cell).share for cell in cells}
        self._total, self._before = len(cells), sum(self._shares.values())
        self._began = self._looked = self._printed = time.monotonic()
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def ended(self, cell: Cell, interrupted: bool) -> bool:
        """Say how a cell ended, and why where it failed; where it was interrupted before it said
        anything of itself, its status says so from now on.
        """
        del self._left[cell.id]
        self._shares[cell.id] = 1.0
        folder = self._folder.folder(cell.id)
        if interrupted and not (folder.status_path.exists() or folder.last_words):
            with suppress(OSError):  # then it counts as failed, and goes on as well
                folder.write_status(RunState.INTERRUPTED, 0, 0.0, {}, EARLY)
        finished = self._folder.state(cell.id, self._measures) is RunState.FINISHED
        failed = not finished and not interrupted
        count = f"{self._total - len(self._left)}/{self._total}"
        if failed:
            why = folder.last_words or "its process died without a word"
            self._say(f"{count}  {cell.label}  failed: {why}\n  its log: {folder.log}")
        elif finished:
            self._say(
                f"{count}  {cell.label}  finished, {clock(folder.read_status().get('seconds', 0))}"
                " of training"
            )
        return failed

    def interrupted(self, at_work: int, again: bool) -> None:
        """Say what is waited for."""
        cells = f"{at_work} cell{'s' if at_work != 1 else ''} at work"
        first = f"{RunState.INTERRUPTED.word}: saving the state of {cells}"
        self._say(
            f"stopping {cells} at once" if again else f"{first}; Ctrl-C again stops them at once"
        )

    def tick(self) -> None:
        """Look at the folders now and then, and show what is seen."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        working = [found for found in map(self._look, self._left.values()) if found]
        if self._live:
            self._live.update(self._board(working))
        elif now - self._printed > LINE_SECONDS:
            self._printed = now
            self._say(
                "; ".join(
                    [
                        self._headline(len(working)),
                        *(f"{w.cell.label} {w.share:.0%}" for w in working[:SHOWN]),
                    ]
                )
            )

    def _look(self, cell: Cell) -> AtWork | None:
        folder = self._folder.folder(cell.id)
        if not folder.at_work:
            return None
        found = seen(folder, cell)
        self._shares[cell.id] = found.share
        return found

    def _headline(self, working: int) -> str:
        done = self._total - len(self._left)
        gained, elapsed = sum(self._shares.values()) - self._before, time.monotonic() - self._began
        left = (self._total - sum(self._shares.values())) / gained * elapsed if gained > 0 else None
        remaining = "" if left is None else f", about {clock(left)} left"
        return f"{done}/{self._total} cells, {working} at work, {clock(elapsed)} so far{remaining}"

    def _board(self, working: list[AtWork]) -> Group:
        rows = Table.grid(padding=(0, 2))
        for found in working[:SHOWN]:
            rows.add_row(Text(found.cell.label), Bar(1.0, found.share, width=24), Text(found.words))
        return Group(Text(self._headline(len(working)), style="bold"), rows)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def seen(folder: RunFolder, cell: Cell) -> AtWork:
    """How far a cell's training is, by the newest line of its numbers."""
    last, train = last_record(folder), cell.config.train
    if not last:
        return AtWork(cell, 0.0, "starting")
    share = min(1.0, share_used(train, last))
    shown = "  ".join(
        f"{word} {last[name]:.4g}"
        for word, name in {"loss": "loss", "gap": "dual_gap"}.items()
        if name in last
    )
    return AtWork(cell, share, f"step {last.get('step', 0):,}/{train.steps:,}  {shown}")


def last_record(folder: RunFolder) -> dict[str, Any]:
    """The newest whole line of a run's numbers; nothing where there is none."""
    try:
        with folder.metrics.open("rb") as lines:
            lines.seek(max(0, lines.seek(0, 2) - TAIL))
            tail = lines.read().split(b"\n")[:-1]  # what follows the last newline is not whole
        found = from_json(tail[-1]) if tail else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
