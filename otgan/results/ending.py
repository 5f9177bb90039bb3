"""How an error that ends a run is recorded in its folder, so that nobody has to guess. No JAX."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from otgan.errors import UserError
from otgan.files import refusal
from otgan.results.state import RunState
from otgan.runs import UNWRITABLE, RunFolder
from otgan.signals import Halted


@contextmanager
def accounted(folder: RunFolder) -> Iterator[None]:
    """See that a run which ends by an error says so in its status.

    Raises:
        UserError: the folder cannot be written any more.
        Halted: a signal ended it; it says how to go on.
    """
    try:
        yield
    except BaseException as error:
        state, reason = ending(folder, error)
        note_ending(folder, state, reason)
        if isinstance(error, KeyboardInterrupt):
            number = error.number if isinstance(error, Halted) else signal.SIGINT
            raise Halted(number, reason) from error
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise UserError(reason) from error
        raise


def note_ending(folder: RunFolder, state: RunState, reason: str) -> None:
    """Write how a run ended, where its status still says that it is running."""
    with suppress(OSError, KeyError):  # then there is no status, or no room for another
        status = folder.read_status()
        if status.get("state") == RunState.RUNNING:
            folder.write_status(state, status["step"], status["seconds"], status["summary"], reason)


def ending(folder: RunFolder, error: BaseException) -> tuple[RunState, str]:
    """What a run that an error ends says in its status: the state, and why."""
    on = f"go on with: {folder.again}"
    match error:
        case KeyboardInterrupt():
            return RunState.INTERRUPTED, f"interrupted; {on}"
        case BrokenPipeError():
            return (
                RunState.INTERRUPTED,
                f"nobody reads any more what is printed (broken pipe); {on}",
            )
        case OSError():
            return RunState.INTERRUPTED, f"{_told(folder, error)}, then {on}"
        case UserError():
            return RunState.FAILED, str(error)
    return RunState.FAILED, f"ended by {type(error).__name__}: {error}".splitlines()[0]


def _told(folder: RunFolder, error: OSError) -> str:
    """What the system refused, and what to do.

    Of what was read and of what was written it says the same.
    """
    known = isinstance(error.filename, str | bytes)
    name = Path(os.fsdecode(error.filename)) if known else None
    why = refusal(error, name or folder.path)
    ours = not name or name.absolute().is_relative_to(folder.path.absolute())
    if error.errno in UNWRITABLE or (ours and not os.access(folder.path, os.W_OK)):
        return (
            f"cannot write to {folder.path if ours else name} ({why}); make room or see that it can"
            " be written"
        )
    return f"{why}{f', of {name}' if name else ''}; see to that"
