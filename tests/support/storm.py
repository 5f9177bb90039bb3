"""A run in a process of its own that is ended by a signal at some moment: before its k-th file
operation in the run's folder, or so many seconds after training has begun.

The process is forked from one that has imported everything, so that a kill costs a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

from otgan import dispatch
from otgan.config import Config
from otgan.launch import launch
from tests.support.helpers import Silent

OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.storm"])
SECONDS = 300  # in which a run must end


def go(
    config: Config,
    path: Path,
    before: int | None = None,
    after: float | None = None,
    by: int = signal.SIGKILL,
) -> int:
    """Begin a run or go on with it; its exit code, -9 where it was killed."""
    process = CONTEXT.Process(target=_train, args=(config, path, before, after, by))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{path} did not end in {SECONDS} seconds")
    return process.exitcode


def count(config: Config, path: Path) -> int:
    """How many file operations a whole run takes."""
    counted = CONTEXT.Value("l", 0)
    process = CONTEXT.Process(
        target=_train, args=(config, path, None, None, signal.SIGKILL, counted)
    )
    process.start()
    process.join(SECONDS)
    assert process.exitcode == 0
    return counted.value


class _Ended(Silent):
    def __init__(self, after, by):
        self._after, self._by = after, by

    def begin(self, progress, resumed):
        if self._after is not None:
            timer = threading.Timer(self._after, os.kill, (os.getpid(), self._by))
            timer.daemon = True
            timer.start()


def _train(config, path, before, after, by, counted=None):
    # of one window each: it can be kept, and go on, between what is drawn and judged
    dispatch.PACE, seen = 0.0, 0

    def hook(event, args):
        nonlocal seen
        if event in OPERATIONS and str(path) in str(args[0]):
            seen += 1
            if counted is not None:
                counted.value = seen
            if seen == before:
                os.kill(os.getpid(), by)

    sys.addaudithook(hook)
    sys.exit(launch(config, path, {}, None, None, _Ended(after, by)).exit_code)
