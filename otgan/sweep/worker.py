"""What runs one cell: `python -m otgan.sweep.worker FOLDER`.

It goes on where an earlier process stopped, waits for one that is still at work there, and stops,
its state saved, when the process that started it is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from rich.console import Console

from otgan import experiments
from otgan.cache import keep_programs
from otgan.console import ProgressBar
from otgan.errors import UserError
from otgan.results.ending import accounted
from otgan.results.judged import judged, note_judged
from otgan.results.state import RunState, state_of
from otgan.runs import RunFolder
from otgan.signals import Halted, exit_code_of

WIDTH = 200  # columns of a log


def work(folder: RunFolder, measures: list[str], data_dir: Path | None) -> int:
    """Train a cell to its end and judge it, as far as that is not done.

    Returns the exit code: 0, or that of a run that did not finish.

    Raises:
        UserError: the cell cannot be trained or judged.
    """
    from otgan.assembly import assemble  # here, since they import JAX, see `keep_programs`
    from otgan.evaluation.command import evaluate
    from otgan.launch import go_on
    from otgan.restore import has_checkpoint
    from otgan.sweep.check import eval_plan

    console = Console(width=WIDTH, highlight=False)
    with folder.locked(wait=True), accounted(folder):
        config = experiments.resolve(str(folder.config_path))
        if state_of(folder, (), mine=True) is not RunState.FINISHED:
            with ProgressBar(config, console, quiet=False) as bar:
                begun = has_checkpoint(folder)
                setup = assemble(config, begun=begun, data_dir=data_dir, note=bar.note)
                result = go_on(setup, folder, bar)
            if result.state is not RunState.FINISHED:
                console.print(f"{result.state}: {result.reason}", markup=False)
                return result.exit_code
        if lacking := [measure for measure in measures if measure not in judged(folder)]:
            said = partial(console.print, markup=False)
            for report in evaluate(
                eval_plan(config, lacking), folder.path, said, data_dir=data_dir
            ):
                console.print(
                    *(f"{line['metric']} {line['mean']:.4g}" for line in report.records),
                    sep="\n",
                    markup=False,
                )
            note_judged(folder, lacking)
    return 0


def _stop_when_left_alone() -> None:
    """End as if terminated when standard input does: its other end is open for as long as the
    process lives that started this one.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Run the cell that the command names.

    Returns the exit code: 0 finished, 1 diverged or stopped, 2 a mistake, 128 and the number of the
    signal that interrupted it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m otgan.sweep.worker", description="Run one cell of a sweep."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measures", default="", help="separated by commas")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    words = parser.parse_args()
    keep_programs()
    if words.with_parent:
        _stop_when_left_alone()
    try:
        return work(
            RunFolder(words.folder, said=_said(words.folder, words.data_dir)),
            [*filter(None, words.measures.split(","))],
            words.data_dir,
        )
    except Halted as halted:
        print(f"{RunState.INTERRUPTED}: {halted.said}", flush=True)  # noqa: T201
        return exit_code_of(halted.number)
    except UserError as error:
        print(f"Error: {error}", flush=True)  # noqa: T201
        return 2


def _said(folder: Path, data_dir: Path | None) -> tuple[str, ...]:
    """What a user types who goes on with a cell alone."""
    return ("run", str(folder), *(["--data-dir", str(data_dir)] if data_dir else []))


if __name__ == "__main__":
    sys.exit(main())
