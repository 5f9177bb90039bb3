"""A process whose runs send it a signal at moments around their end.

Those that it cut are run again. It prints how they ended.
"""

import json
import os
import signal
import sys
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest import mock

from otgan import loop
from otgan.checkpoints import Checkpoints
from tests.support.helpers import Silent, run, tiny_config

STEPS = 10
MOMENTS: dict[str, tuple[Any, str]] = {  # what is about to be called
    "the last step's end": (Silent, "advance"),
    "saving": (Checkpoints, "save"),
    "committing": (Checkpoints, "wait"),
    "drawing": (loop, "draw"),
    "judging": (loop, "judge"),
    "measuring": (loop, "final_metrics"),
    "the last words": (loop, "conclude"),
}


def signalled(owner, name, number):
    """Before its first call a function of `owner` sends the process a signal."""
    real, left = getattr(owner, name), [number]

    def first(*args):
        if left:
            os.kill(os.getpid(), left.pop())
        return real(*args)

    return mock.patch.object(owner, name, first)


def main(root):
    config = tiny_config(**{"train.steps": STEPS, "train.pictures": 1})
    for (moment, place), number in zip(
        MOMENTS.items(), cycle((signal.SIGTERM, signal.SIGINT)), strict=False
    ):
        with signalled(*place, number):
            folder, outcome = run(config, root / moment)
        status = folder.read_status()
        newest = Checkpoints(folder.checkpoints).newest
        ends = [
            outcome.state,
            status["state"],
            *([] if outcome.state == "finished" else [run(config, root / moment)[1].state]),
        ]
        sys.stdout.write(json.dumps([moment, newest, *ends]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
