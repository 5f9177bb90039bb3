"""The anatomy of a run folder, and the only module that knows its file names. No JAX.

config.json         what was run: repeats the run, names its experiment environment.json    where:
versions, devices, the data's shape and fingerprint status.json         how far: `state`, a word of
`otgan.results.state.RunState`; then step, seconds, summary metrics.jsonl       one line per
`log_every` steps events.out.tfevents.*   the same for TensorBoard checkpoints/        the newest
few states samples/            pictures on fixed latents while training eval/
scores.jsonl, a score a line with its protocol; nearest training neighbors as pictures log.txt
of a sweep's cell, what the processes that ran it printed
"""

from __future__ import annotations

import errno
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otgan.errors import FULL, UserError
from otgan.files import (
    LOCK,
    is_locked,
    is_unfinished,
    lock,
    overwrite,
    read_table,
    refusal,
    write_atomically,
)
from otgan.named import find
from otgan.plain import from_json

# of a sweep, and of a run that is a cell of one
SWEEP, CELLS, CELL = "sweep.json", "cells", "cell.json"
CONFIG, ENVIRONMENT, STATUS, METRICS, LOG = (
    "config.json",
    "environment.json",
    "status.json",
    "metrics.jsonl",
    "log.txt",
)
UNWRITABLE = (*FULL, errno.EROFS, errno.EFBIG)  # what only writing meets
OF_A_SWEEP = "a sweep's cells"  # what a sentence says of links there
RUNS = Path("runs")  # where runs are, unless said otherwise


def command_again(folder: Path, said: Sequence[str] = (), command: str = "run") -> str:
    """The line that goes on in a folder: all that was said on the command line, and the folder.

    Args:
        folder: a run's or a sweep's.
        said: the words after `otgan`; none where no command line began it.
        command: which goes on where nothing was said.
    """
    words = [*said] or [command, unmistakable(folder)]
    named = any(word == "--out" or word.startswith("--out=") for word in words)
    if not named and not {str(folder), unmistakable(folder)} & {*words}:
        words += ["--out", str(folder)]
    return shlex.join(["otgan", *words])


def unmistakable(path: Path) -> str:
    """A path that no command takes for an option, or for the name of an experiment."""
    word = str(path)
    try:
        plain = not word.startswith("-") and find(word) is None
    except UserError:  # two experiments are called so
        plain = False
    return word if plain else f"./{word}"


def require_no_link(path: Path, what: str) -> None:
    """See that a place that `what` lie in leads nowhere else.

    Raises:
        UserError: it is a link.
    """
    if path.is_symlink():
        raise UserError(
            f"{path} is a link: {what} must lie in its own folder. Put what it points to in its"
            " place"
        )


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, there already or to be made.

    Attributes:
        path: of the folder.
        said: the words after `otgan` of the command line that works in it, if one does.
    """

    path: Path
    said: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        """The command line that goes on here."""
        return command_again(self.path, self.said)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / CONFIG).is_file()

    @property
    def config_path(self) -> Path:
        """The record of what was run."""
        return self.path / CONFIG

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The numbers, a JSON object a line."""
        return self.path / METRICS

    def picture(self, step: int) -> Path:
        """Where the samples after a step are drawn; the newest has the highest number."""
        return self.path / "samples" / f"step-{step:07d}.png"

    def highlight(self, name: str, step: int) -> Path:
        """Where the training examples that a family highlights after a step are drawn."""
        return self.path / "samples" / f"{name}-{step:07d}.png"

    @property
    def loggers(self) -> Path:
        """Where it is found with other packages' loggers."""
        return self.path / "loggers.json"

    @property
    def eval(self) -> Path:
        """The folder of scores."""
        return self.path / "eval"

    @property
    def scores(self) -> Path:
        """All scores so far, a JSON object a line."""
        return self.eval / "scores.jsonl"

    @property
    def status_path(self) -> Path:
        """What the run says of itself."""
        return self.path / STATUS

    @property
    def log(self) -> Path:
        """What the processes that ran it printed; of a sweep's cell only."""
        return self.path / LOG

    @property
    def last_words(self) -> str:
        """The last line of its log; empty where there is none."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    @property
    def at_work(self) -> bool:
        """Whether a process holds the folder's lock."""
        return is_locked(self.path / LOCK)

    @property
    def last_touched(self) -> float:
        """When the run was at work last, or begun, in seconds of the clock."""
        return max(
            path.stat().st_mtime for path in (self.config_path, self.status_path) if path.is_file()
        )

    def require_free(self) -> None:
        """See that a run can be begun here, touching nothing.

        Raises:
            UserError: the path holds something that is not a run.
        """
        taken = (
            any(p.name != LOCK and not is_unfinished(p) for p in self.path.iterdir())
            if self.path.is_dir()
            else self.path.exists()
        )
        if taken:
            raise UserError(
                f"{self.path} holds something else than a run; give --out another folder"
            )

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that it is a cell of; None of a run of its own."""
        cells = self.path.absolute().parent
        return cells.parent if cells.name == CELLS and (cells.parent / SWEEP).is_file() else None

    def require_own(self) -> None:
        """See that nothing in here is a link, behind which a write would change another place.

        Of a sweep's cell neither is its folder.

        Raises:
            UserError: something is.
        """
        for folder in (self.path, self.path / "samples", self.eval, self.checkpoints):
            for path in folder.iterdir() if folder.is_dir() else ():
                require_no_link(path, "a run's files")
        if self.sweep:
            for path in (self.path, self.path.absolute().parent):
                require_no_link(path, OF_A_SWEEP)

    def create(self, config_json: str) -> None:
        """Record what is going to run here."""
        # first: a folder with anything else and no config is taken for somebody else's
        write_atomically(self.config_path, config_json)
        (self.path / "samples").mkdir(exist_ok=True)

    def record(self, config_json: str) -> None:
        """Record anew what runs here."""
        write_atomically(self.config_path, config_json)

    def read_config(self) -> dict[str, Any]:
        """The record of what was run, as plain data.

        Raises:
            UserError: there is no run here, or its record cannot be read.
        """
        return _read(self.config_path, f"{self.path} is no run folder: it has no readable {CONFIG}")

    def read_environment(self) -> dict[str, Any]:
        """Where it ran, and on which data."""
        return _read(
            self.path / ENVIRONMENT,
            f"{self.path} has no readable {ENVIRONMENT}: the run never started; run it again",
        )

    def write_environment(self, environment: dict[str, Any], begun: bool = False) -> None:
        """Record where it runs, and on which data.

        What a begun run was begun with stays, and every resumption adds its own.
        """
        if begun:
            first = self.read_environment()
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        write_atomically(self.path / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def read_status(self, problems: list[str] | None = None) -> dict[str, Any]:
        """What it says of itself; nothing where it has not started, or where that cannot be read,
        which `problems` then names.
        """
        return (
            read_table(self.status_path, [] if problems is None else problems)
            if self.status_path.exists()
            else {}
        )

    def write_status(
        self, state: str, step: int, seconds: float, summary: dict[str, Any], reason: str = ""
    ) -> None:
        """Say how far it is; readers see the old status or the new one, never half of either."""
        status = {
            "state": state,
            "step": step,
            "seconds": round(seconds, 3),
            "reason": reason,
            "summary": summary,
        }
        text = json.dumps(status, indent=2) + "\n"
        try:
            write_atomically(self.status_path, text)
        except OSError as error:
            if error.errno not in FULL or not overwrite(self.status_path, text):
                raise

    def truncate_metrics(self, step: int) -> None:
        """Forget the lines after a step, which a resumed run is going to write again.

        Scores of no step at all stay.
        """
        for lines, stepless in ((self.metrics, False), (self.scores, True)):
            if lines.is_file():
                text = lines.read_text(errors="replace")
                kept = "".join(
                    line + "\n" for line in text.splitlines() if _is_until(step, line, stepless)
                )
                if kept != text:
                    write_atomically(lines, kept)

    @contextmanager
    def locked(self, wait: bool = False) -> Iterator[None]:
        """Make the folder if need be, and keep other processes out of it while this one writes.

        Args:
            wait: whether to wait for another process that is at work in it.

        Raises:
            UserError: another process is at work in it, and this does not wait; or it cannot be
                written.
        """
        with ExitStack() as locks:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self.require_own()
                locks.enter_context(lock(self.path / LOCK, wait))
            except BlockingIOError:
                raise UserError(
                    f"another otgan process is at work in {self.path}; wait for it or give --out"
                    " another folder"
                ) from None
            except OSError as error:
                raise UserError(
                    f"cannot write to {self.path} ({refusal(error, self.path)}); give --out a"
                    " folder that can be written"
                ) from None
            yield


def new_folder(root: Path, name: str, labels: list[str], said: tuple[str, ...] = ()) -> RunFolder:
    """Claim the next numbered folder below `root`: `00007-sinkhorn-grid-lam0.1`.

    Raises:
        UserError: `root` cannot be written.
    """
    described = re.sub(r"[^\w.+-]+", "_", "-".join([name, *labels]))[:100]
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            number = 1 + max(
                (int(p.name[:5]) for p in root.iterdir() if re.match(r"\d{5}-", p.name)), default=0
            )
            path = root / f"{number:05d}-{described}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another process took the number
            return RunFolder(path, said)
    except OSError as error:
        raise UserError(
            f"cannot write to {root.resolve()} ({refusal(error, root)}); give --out a folder that"
            " can be written"
        ) from None


def _is_until(step: int, line: str, stepless: bool) -> bool:
    """Whether a line is of a step up to this one; one of no step is if that may be."""
    try:
        found = from_json(line)
    except ValueError:
        return False  # half a line, from a run that was killed
    if not isinstance(found, dict) or "step" not in found:
        return False
    return (
        stepless
        if found["step"] is None
        else isinstance(found["step"], int | float) and found["step"] <= step
    )


def _read(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        found = from_json(path.read_text())
    except (OSError, ValueError):
        raise UserError(otherwise) from None
    if not isinstance(found, dict):
        raise UserError(otherwise)
    return found
