"""The commands that take a run up again, as a shell reads them. No JAX."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from otgan.results.judged import asked
from otgan.results.run import Run
from otgan.results.state import RunState
from otgan.runs import RunFolder, command_again, unmistakable

CARRIED = ("--data-dir", "--devices")  # what a config does not hold
# what ended of itself comes to the same end again
ENDS = (RunState.FINISHED, RunState.DIVERGED, RunState.RUNNING)
WORDS = {RunState.MISSING: "begin it", RunState.UNJUDGED: "judge it"}


class Again(NamedTuple):
    """A command, and what it does."""

    does: str
    command: str


def again(run: Run) -> list[Again]:
    """What goes on with a run where something is left to do, and what repeats it elsewhere.

    They hold in the folder in which its path does.
    """
    if not run.config:
        return []
    options = _carried(run.environment.get("command"))
    repeat = shlex.join(["otgan", "run", unmistakable(RunFolder(run.path).config_path), *options])
    found = [Again("repeat it in a new folder", repeat)]
    if run.state not in ENDS:
        found.insert(0, Again(WORDS.get(run.state, "go on with it"), _left(run, options)))
    return found


def _left(run: Run, options: Sequence[str]) -> str:
    """The command that does what is left of a run; of a sweep's cell, its judging too."""
    measures = asked(RunFolder(run.path))
    if not measures:
        return command_again(run.path, ["run", unmistakable(run.path), *options])
    data_dir = options[:2] if "--data-dir" in options else []
    worker = ("python", "-m", "otgan.sweep.worker", unmistakable(run.path))
    return shlex.join([*worker, "--measures", ",".join(measures), *data_dir])


def _carried(command: object) -> list[str]:
    """The options of the command that began a run, of those that its config does not hold."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    found = []
    for option in CARRIED:
        for word, following in pairwise([*words, ""]):
            if word == option and following:
                found += [option, following]
            elif word.startswith(f"{option}="):
                found += [option, word.partition("=")[2]]
    return found
