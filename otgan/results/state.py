"""In which state a run is: one enumeration, and the only function that tells it from a folder.

No JAX.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from otgan.results.judged import asked, judged
from otgan.runs import RunFolder

Tone = Literal["good", "plain", "warn", "bad"]


class RunState(StrEnum):
    """A state, equal to the word that `status.json` records for it.

    Attributes:
        symbol: one character, which says the state where color cannot.
        word: what a reader calls it.
        tone: how welcome it is.
        exit_code: of a command that leaves a run so; one that a user's mistake ends has 2 instead.
    """

    symbol: str
    word: str
    tone: Tone
    exit_code: int

    def __new__(cls, recorded: str, symbol: str, word: str, tone: Tone) -> RunState:
        """A line of the table below."""
        state = str.__new__(cls, recorded)
        state._value_ = recorded
        state.symbol, state.word, state.tone, state.exit_code = (
            symbol,
            word,
            tone,
            int(recorded != "finished"),
        )
        return state

    FINISHED = "finished", "✓", "finished", "good"
    # lacks measures that its sweep asks for
    UNJUDGED = "unjudged", "◐", "trained, not judged", "plain"
    # ended by an error; also where its process is gone and left no word
    FAILED = "failed", "✕", "failed", "bad"
    DIVERGED = "diverged", "✕", "diverged", "bad"
    STOPPED = "stopped", "■", "stopped", "warn"  # by its own rule: a dual short of epsilon
    # by a signal, or by a disk that is full
    INTERRUPTED = "interrupted", "‖", "interrupted", "warn"
    RUNNING = "running", "▸", "running", "plain"
    MISSING = "missing", "–", "not begun", "plain"
    UNKNOWN = "unknown", "?", "unknown", "warn"  # its status cannot be read

    @property
    def standing(self) -> RunState:
        """How it counts among the cells of a sweep, one of `STANDINGS`: what ended otherwise than
        asked for has failed.
        """
        return self if self in STANDINGS else RunState.FAILED

    @property
    def trained(self) -> bool:
        """Whether it has come to its end as asked for, so that its numbers count."""
        return self in (RunState.FINISHED, RunState.UNJUDGED)


STANDINGS = (
    RunState.FINISHED,
    RunState.UNJUDGED,
    RunState.FAILED,
    RunState.INTERRUPTED,
    RunState.RUNNING,
    RunState.MISSING,
)
ENDED = (
    RunState.FINISHED,
    RunState.FAILED,
    RunState.DIVERGED,
    RunState.STOPPED,
    RunState.INTERRUPTED,
)


def state_of(
    folder: RunFolder, measures: Iterable[str] | None = None, mine: bool = False
) -> RunState:
    """The state of a run, from its folder alone.

    A folder whose status says that it is running, but in which no process is at work, has failed:
    the process was killed, or the machine went down. So has one whose process died before it wrote
    a status. A cell that is trained but lacks measures is unjudged.

    Args:
        folder: the run's, or where one may be.
        measures: those that it is to be judged by; None stands for what the sweep asks for that it
            is a cell of.
        mine: whether it is the caller who is at work in it, and asks how it was before.
    """
    if not mine and folder.at_work:
        return RunState.RUNNING
    if not folder.status_path.exists():
        return RunState.FAILED if folder.log.is_file() else RunState.MISSING
    said = folder.read_status().get("state")
    if said == RunState.FINISHED and set(asked(folder) if measures is None else measures) - set(
        judged(folder)
    ):
        return RunState.UNJUDGED
    if said in ENDED:
        return RunState(str(said))
    return RunState.FAILED if said == RunState.RUNNING else RunState.UNKNOWN
