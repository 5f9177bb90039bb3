"""A run in a process of its own that is killed at some moment: before its k-th file operation in
the run's folder, or so many seconds after training has begun.

The process is forked from one that has imported everything, so that a kill costs a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

from otgan.config import Config
from otgan.launch import launch
from tests.support.helpers import Silent

OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.storm"])
SECONDS = 300  # in which a run must end


def go(config: Config, path: Path, before: int | None = None, after: float | None = None) -> int:
    """Begin a run or go on with it; its exit code, -9 where it was killed."""
    process = CONTEXT.Process(target=_train, args=(config, path, before, after))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{path} did not end in {SECONDS} seconds")
    return process.exitcode


def count(config: Config, path: Path) -> int:
    """How many file operations a whole run takes."""
    counted = CONTEXT.Value("l", 0)
    process = CONTEXT.Process(target=_train, args=(config, path, None, None, counted))
    process.start()
    process.join(SECONDS)
    assert process.exitcode == 0
    return counted.value


class _Killed(Silent):
    def __init__(self, after):
        self._after = after

    def begin(self, progress, resumed):
        if self._after is not None:
            threading.Timer(self._after, _kill).start()


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _train(config, path, before, after, counted=None):
    seen = 0

    def hook(event, args):
        nonlocal seen
        if event in OPERATIONS and str(path) in str(args[0]):
            seen += 1
            if counted is not None:
                counted.value = seen
            if seen == before:
                _kill()

    sys.addaudithook(hook)
    sys.exit(launch(config, path, {}, None, None, _Killed(after)).exit_code)
