"""`otgan sweep` with an executor whose cells finish, fail, hang, die and diverge as a seed says.

The process gets a signal, or is killed, in the middle.

    python -m tests.support.stormy_sweep SEED SIGNAL LOOKS LEDGER WORDS...

LEDGER gets a line of JSON for every begin and end of a job.
"""

import hashlib
import itertools
import json
import os
import random
import sys
from pathlib import Path
from types import SimpleNamespace

from otgan.cli import main, sweeping
from otgan.runs import RunFolder
from otgan.sweep.scheduler import End

DOOMED = 0.02  # of the cells diverge, whenever they are tried
FATES = {"finished": 80, "failed": 5, "hangs": 5, "dies": 10}  # of an attempt, in percent
LONGEST = 5  # looks that a job takes


def doomed(cell):
    return random.Random(f"doom {cell}").random() < DOOMED


def result(cell):
    """What a cell that finishes comes to."""
    return int(hashlib.sha256(cell.encode()).hexdigest()[:6], 16) / 2**24


class Storm:
    """An `otgan.sweep.scheduler.Executor` without processes."""

    room, retries = 16, 2

    def __init__(self, seed, number, looks, ledger, limit):
        self._draw, self._number, self._looks = random.Random(seed), number, looks
        self._ledger, self._limit = Path(ledger), limit
        self._jobs, self._numbers = {}, itertools.count()

    def submit(self, command, log):
        folder, job = RunFolder(Path(command[3])), next(self._numbers)
        cell = folder.path.name
        assert cell not in {each.path.name for each, _, _ in self._jobs.values()}
        assert folder.read_status().get("state") != "finished"
        fate = "diverged" if doomed(cell) else self._draw.choices([*FATES], [*FATES.values()])[0]
        self._jobs[job] = (folder, fate, self._draw.randint(1, LONGEST))
        self._say(folder, "running", 1)
        with log.open("a") as lines:
            lines.write("at work\n")
        self._note(begun=cell)
        return job

    def poll(self):
        self._looks -= 1
        if self._looks == 0:
            os.kill(os.getpid(), self._number)
        left = {job: (folder, fate, n - 1) for job, (folder, fate, n) in self._jobs.items()}
        over = [job for job, (_, _, n) in left.items() if n <= 0]
        self._jobs = {job: found for job, found in left.items() if job not in over}
        return [(job, self._end(*left[job][:2])) for job in over]

    def cancel(self, job):
        folder, _, _ = self._jobs[job]
        self._jobs[job] = (folder, "interrupted", 1)

    def close(self):
        assert not self._jobs

    def _end(self, folder, fate):
        cell = folder.path.name
        match fate:
            case "finished":
                with folder.metrics.open("a") as lines:
                    lines.write(json.dumps({"step": 10, "loss": result(cell)}) + "\n")
                self._say(folder, fate, 10, w2=result(cell))
            case "diverged" | "failed" | "interrupted":
                self._say(folder, fate, 5)
            case "hangs":
                assert self._limit
                self._say(folder, "interrupted", 5)
                with folder.log.open("a") as lines:
                    lines.write(f"took more than {self._limit} seconds (--cell-timeout)\n")
        self._note(ended=cell, fate=fate)
        return End.KILLED if fate == "dies" else End.EXITED

    def _say(self, folder, state, step, **summary):
        told = {"converged_share": 1.0, "seconds": 2.0, "gap_kind": "certified", **summary}
        folder.write_status(state, step, 2.0, told if state == "finished" else {})

    def _note(self, **facts):
        with self._ledger.open("a") as lines:
            lines.write(json.dumps(facts) + "\n")


def run(seed, number, looks, ledger, *words):
    sweeping._executor = lambda opened, cells, options: Storm(
        seed, int(number), int(looks), ledger, options["cell_timeout"]
    )
    nothing = SimpleNamespace(check=lambda *_: None)  # is trained, and no jax needed
    sys.modules["otgan.sweep.check"] = nothing  # pyright: ignore[reportArgumentType]
    main([*words], prog_name="otgan")


if __name__ == "__main__":
    run(*sys.argv[1:])
