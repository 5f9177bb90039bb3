"""Ctrl-C and terminations as something to look at now and then, so that what is at work can be
finished and saved first.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(again: bool = False) -> Iterator[list[int]]:
    """A list that gets the number of every Ctrl-C and termination that arrives.

    Args:
        again: whether a second one is listed as well; otherwise it ends the process at once, as if
            nobody watched.
    """
    seen: list[int] = []
    before = {int(number): signal.getsignal(number) for number in WATCHED}

    def note(number: int, _: Any) -> None:
        seen.append(number)
        if not again:
            signal.signal(number, before[number])

    with _handled_by(note):
        yield seen


@contextmanager
def at_once() -> Iterator[None]:
    """Where nothing is lost by it: a Ctrl-C or a termination ends what is at work by
    `KeyboardInterrupt`.
    """

    def stop(number: int, _: Any) -> None:
        raise KeyboardInterrupt(number)

    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    # only that one may handle signals; a notebook's or a server's may train
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in WATCHED}
    try:
        for number in WATCHED:
            signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
