"""How an error that ends a run is recorded in its folder, so that nobody has to guess. No JAX."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from otgan.errors import UserError
from otgan.results.again import resume
from otgan.results.state import RunState
from otgan.runs import UNWRITABLE, RunFolder


@contextmanager
def accounted(folder: RunFolder) -> Iterator[None]:
    """See that a run which ends by an error says so in its status.

    Raises:
        UserError: the folder cannot be written any more.
    """
    try:
        yield
    except BaseException as error:
        state, reason = ending(folder, error)
        with suppress(OSError, KeyError):  # then there is no status, or no room for another
            status = folder.read_status()
            if status.get("state") == RunState.RUNNING:
                folder.write_status(
                    state, status["step"], status["seconds"], status["summary"], reason
                )
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise UserError(reason) from error
        raise


def ending(folder: RunFolder, error: BaseException) -> tuple[RunState, str]:
    """What a run that an error ends says in its status: the state, and why."""
    on = f"go on with: {resume(folder.path)}"
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
    why, name = (
        error.strerror or str(error),
        Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None,
    )
    ours = not name or name.absolute().is_relative_to(folder.path.absolute())
    if error.errno in UNWRITABLE or (ours and not os.access(folder.path, os.W_OK)):
        return (
            f"cannot write to {folder.path if ours else name} ({why}); make room or see that it can"
            " be written"
        )
    return f"{why}{f', of {name}' if name else ''}; see to that"
