"""A process among those of a run: what it says to the others, hears from them, and does when one is
gone.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from otgan.errors import UserError
from otgan.hosts.service import disconnect
from otgan.hosts.wire import Wire

LOST = 1  # the exit code of a process that another one's end ended
GRACE = 10.0  # seconds that a process has to end by itself once it was told to
COMPILING = 300.0  # the same where the leader is done and nobody waits
TICK = 0.1  # seconds between two looks at signals
LEADER = 0
# how a message is called: what a process is to do or found out, that it was given a signal, that
# the run is over, that it ends by an error
SAYS, ASKED, OVER, CANNOT = "says", "asked", "over", "cannot"


class EndedError(Exception):
    """The leader ended the run.

    Attributes:
        code: with which all processes end.
        reason: a sentence; empty where the run is finished.
        in_order: whether the leader takes its leave of JAX as well.
    """

    def __init__(self, code: int, reason: str, in_order: bool):
        super().__init__(reason)
        self.code, self.reason, self.in_order = code, reason, in_order


class Hosts:
    """This process and the others of its run.

    The leader is connected with every other process, and those with the leader alone. As soon as
    the run is `underway` a process may be within a collective operation that waits for another one
    for ever: then a thread sees to it that it ends when that one is gone.

    Args:
        index: of this process.
        wires: to the others, by their index.
        names: of all processes, for sentences.
    """

    def __init__(
        self,
        index: int = LEADER,
        wires: Mapping[int, Wire] | None = None,
        names: Sequence[str] = (),
    ):
        self.index, self._wires, self._names = index, dict(wires or {}), names
        self.asked: list[int] = []
        """Signals that other processes were given, which end the run as those of its own do."""
        self._inbox = {other: queue.Queue[dict[str, Any]]() for other in self._wires}
        self._last_words: Callable[[str], str] | None = None
        self._leaving = threading.Lock()
        self._over = False
        self._lost = ""  # why it cannot go on, if that was seen before the run is underway
        for other, wire in self._wires.items():
            wire.limit(None)
            threading.Thread(target=self._listen, args=(other, wire), daemon=True).start()

    @property
    def leads(self) -> bool:
        """Whether this process decides and writes."""
        return self.index == LEADER

    # --- what is said in turn ---------------------------------------------------------------------

    def tell(self, what: Any) -> None:
        """Say something to all others, in JSON."""
        for other in self._wires:
            self._send(other, {SAYS: what})

    def gather(self) -> list[Any]:
        """What all others say next, in their order.

        Raises:
            UserError: one of them failed or is gone.
        """
        return [self._next(other) for other in sorted(self._wires)]

    def hear(self, seen: Sequence[int] = ()) -> Any:
        """What the leader says next; signals that are seen meanwhile are passed on to it, once.

        Raises:
            EndedError: the run is over.
            UserError: the leader failed or is gone.
        """
        return self._next(LEADER, seen)

    def _next(self, other: int, seen: Sequence[int] = ()) -> Any:
        passed_on = False
        while True:
            if seen and not passed_on:
                passed_on = True
                self._send(other, {ASKED: seen[0]})
            with suppress(queue.Empty):
                message = self._inbox[other].get(timeout=TICK)
                if OVER in message:
                    raise EndedError(*message[OVER])
                if CANNOT in message:
                    raise UserError(message[CANNOT])
                return message[SAYS]

    def _send(self, other: int, message: dict[str, Any]) -> None:
        with suppress(OSError):  # that it is gone the thread that listens to it finds out
            self._wires[other].send(message)

    # --- how it ends ------------------------------------------------------------------------------

    def underway(self, last_words: Callable[[str], str]) -> None:
        """From here on end this process, wherever it is, once another one is gone.

        Args:
            last_words: is called before, in another thread, with who is gone; returns the sentence
                that is said.
        """
        with self._leaving:
            self._last_words, lost = last_words, self._lost
        if lost:
            self._leave(lost)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Of what all processes do in common: where it fails, a thread that finds another process
        gone ends this one first.
        """
        try:
            yield
        except Exception:
            if self._wires:
                time.sleep(2 * GRACE)
            raise

    def release(self, code: int, reason: str) -> None:
        """Let the others go, with an exit code and a sentence: the leader needs them no more."""
        self._end(code, reason, in_order=True)
        if self._wires:  # else JAX's connections are none of ours
            disconnect()

    def part(self, ended: EndedError) -> None:
        """Go, as the leader says."""
        self._apart()
        if ended.in_order:
            disconnect()

    def fail(self, code: int, reason: str) -> None:
        """Say that this process cannot go on, if anybody still counts on it."""
        if self.leads:
            self._end(code, f"{self._names[LEADER]} ended: {reason}", in_order=False)
        elif not self._over:
            self._apart()
            self._send(LEADER, {CANNOT: f"{self._names[self.index]}: {reason}"})

    def close(self) -> None:
        """Hang up."""
        self._apart()
        for wire in self._wires.values():
            wire.close()

    def _apart(self) -> None:
        """What others do no longer matters to this process."""
        self._over, self._last_words = True, None

    def _end(self, code: int, reason: str, in_order: bool) -> None:
        if not self._over:
            self._apart()
            for other in self._wires:
                self._send(other, {OVER: [code, reason, in_order]})

    def _listen(self, other: int, wire: Wire) -> None:
        while True:
            message: dict[str, Any]
            try:
                message = wire.receive()
            except (OSError, ValueError):
                message = {CANNOT: f"{self._names[other]} is gone"}
            if ASKED in message:
                self.asked.append(int(message[ASKED]))
                continue
            if OVER in message:
                self._last_words = None
                self._leave_later(*message[OVER])
            elif CANNOT in message:
                self._leave(message[CANNOT])
            self._inbox[other].put(message)
            if OVER in message or CANNOT in message:
                return

    def _leave(self, reason: str) -> None:
        """End this process, if the run is underway, and before it the others."""
        with self._leaving:
            if (last_words := self._last_words) is None:
                self._lost = reason
                return
            if self.leads:
                self._end(LOST, f"{reason}, and with it the run", in_order=False)
            with suppress(Exception):
                reason = last_words(reason)
            _say(reason)
            os._exit(LOST)

    def _leave_later(self, code: int, reason: str, in_order: bool) -> None:
        """End this process if it does not do so soon: it may be in an operation that waits for the
        leader, or, where that left in order, still compile what is not needed any more.
        """

        def leave() -> None:
            if not self._over:
                _say(reason)
                os._exit(code)

        timer = threading.Timer(COMPILING if in_order else GRACE, leave)
        timer.daemon = True
        timer.start()


def _say(sentence: str) -> None:
    if sentence:
        with suppress(OSError):
            os.write(2, f"\n{sentence}\n".encode())


ALONE = Hosts()
