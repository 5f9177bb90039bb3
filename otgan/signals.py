"""Ctrl-C and terminations as something to look at now and then, so that what is at work can be finished and saved first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(again: bool = False) -> Iterator[list[int]]:
    """A list that gets the number of every Ctrl-C and termination that arrives.

    Args:
        again: whether a second one is listed as well; otherwise it ends the process at once, as if nobody watched.
    """
    seen: list[int] = []
    before = {int(number): signal.getsignal(number) for number in WATCHED}

    def note(number: int, _: Any) -> None:
        seen.append(number)
        if not again:
            signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
