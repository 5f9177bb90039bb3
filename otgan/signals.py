"""Ctrl-C and terminations as something to look at now and then, so that what is at work can be
finished and saved first; and a second one, which ends at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)
# seconds after a second signal in which the main thread may still end by itself
PATIENCE = 2.0
IMPORTING = "<frozen importlib._bootstrap>"  # where Python's own code imports a module


class Halted(KeyboardInterrupt):
    """A signal that ended what was at work.

    Attributes:
        number: of the signal.
        said: a sentence for the user.
    """

    def __init__(self, number: int = signal.SIGINT, said: str = ""):
        super().__init__(number)
        self.number, self.said = number, said or f"ended by {signal.Signals(number).name}"


def exit_code_of(number: int) -> int:
    """Of a process that a signal ended, as shells have it: 130 for Ctrl-C, 143 for a
    termination.
    """
    return 128 + number


@contextmanager
def interruptible(
    again: bool = False, last_words: Callable[[int], None] | None = None
) -> Iterator[list[int]]:
    """A list that gets the number of every Ctrl-C and termination that arrives.

    Args:
        again: whether a second one is listed as well; otherwise it raises `Halted`.
        last_words: of a process that is deaf, since it compiles or computes in one long call: it
            has `PATIENCE` seconds after a second signal. Then this is called, in another thread,
            and the process ends. Without it, such a process goes on until the call returns.
    """
    seen: list[int] = []

    def note(number: int, _: Any) -> None:
        if seen and not again:
            raise Halted(number)
        seen.append(number)

    with _handled_by(note):
        if last_words is None or threading.current_thread() is not threading.main_thread():
            yield seen
        else:
            with _overseen(last_words):
                yield seen


@contextmanager
def at_once() -> Iterator[None]:
    """Where nothing is lost by it: a Ctrl-C or a termination ends what is at work by `Halted`.

    Raised within a callback, as JAX has one for the collector of garbage, that is thrown away; then
    it comes at the end.
    """
    seen: list[int] = []

    def stop(number: int, _: Any) -> None:
        seen.append(number)
        raise Halted(number)

    with _handled_by(stop):
        yield
    if seen:
        raise Halted(seen[0])


@contextmanager
def one_line() -> Iterator[None]:
    """Of a whole command: where nobody else handles a Ctrl-C or a termination, it ends by `Halted`
    and, if that was not told on the way, by one line and the exit code of the signal; so it does
    where others made another error of it. What ends otherwise after a signal that was lost, as in a
    callback, ends as it would have, and one line says so.

    While a module is imported, the process ends there and then: an exception would come out of the
    middle of foreign code, which makes a traceback of it, another error, or a crash. A signal that
    was ignored from the beginning, as in the background of a script, stays so.

    Raises:
        SystemExit: a signal ended it.
    """
    raised: list[Halted] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            _leave(number)
        raised.append(Halted(number))
        raise raised[-1]

    for number in WATCHED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    except BaseException as error:
        if halted := _halted(error, raised):
            if not isinstance(error, SystemExit):
                _say(halted.said)
            sys.exit(exit_code_of(halted.number))
        if raised:
            _say(f"{signal.Signals(raised[0].number).name} came, and ended nothing")
        raise


def ignore() -> None:
    """Hear no more signals, for a process that is ending: in the middle of Python's own end another
    one crashes it.
    """
    for number in WATCHED:
        signal.signal(number, signal.SIG_IGN)


def _halted(error: BaseException, raised: list[Halted]) -> Halted | None:
    """Which of those that were raised ended a command, if one did. Click keeps none as the cause of
    its exits: one by the code of a signal was told, and by 1 it ends what was interrupted.
    """
    for halted in raised:
        told = (1, exit_code_of(halted.number))
        if _led_to(halted, error) or (isinstance(error, SystemExit) and error.code in told):
            return halted
    return None


def _led_to(cause: BaseException, error: BaseException) -> bool:
    """Whether an error is another, or was raised from that one or while it was handled."""
    left, known = [error], set()
    while left:
        known.add(id(one := left.pop()))
        if one is cause:
            return True
        before = (one.__cause__, one.__context__)
        left += [each for each in before if each is not None and id(each) not in known]
    return False


def _imports(frame: FrameType | None) -> bool:
    """Whether what is at work is the import of a module."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave(number: int) -> None:
    """End the process, whatever it does."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # one that is being written to, or is closed
            stream.flush()
    _say(Halted(number).said)
    os._exit(exit_code_of(number))


def _say(words: str) -> None:
    with suppress(OSError):
        os.write(2, f"{words}\n".encode())


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


@contextmanager
def _overseen(last_words: Callable[[int], None]) -> Iterator[None]:
    """Handlers run between two instructions of Python alone; the system's own writes the number to
    a socket as it arrives, which a thread reads.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    over = threading.Event()

    def oversee() -> None:
        arrived = 0
        while number := reading.recv(1):
            arrived += number[0] in WATCHED
            if arrived == 2 and not over.wait(PATIENCE):
                last_words(number[0])
                os._exit(exit_code_of(number[0]))

    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=oversee, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        writing.close()
        thread.join()
        reading.close()
