"""Messages between two processes: JSON objects over a TCP connection, each after its length.

Nothing that arrives is ever run. A connection notices within half a minute that the other host is
gone, and at once that the other process is.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from otgan.plain import from_json

LENGTH = struct.Struct(">I")
LONGEST = 2**24  # bytes of a message
# seconds until an idle connection is probed, between probes, and how many may stay unanswered
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
UNANSWERED = 30_000  # milliseconds that what was sent may stay unacknowledged


class Wire:
    """One end of a connection. Several threads may send, one may receive."""

    def __init__(self, connection: socket.socket):
        self._connection, self._sending = connection, threading.Lock()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {**KEEPALIVE, "TCP_USER_TIMEOUT": UNANSWERED}.items():
            if option := getattr(socket, name, None):  # not every system has all of them
                connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def limit(self, seconds: float | None) -> None:
        """Wait so long for the other side from now on; None waits for as long as it lives."""
        self._connection.settimeout(seconds)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            OSError: the other side is gone.
        """
        body = json.dumps(message).encode()
        with self._sending:
            self._connection.sendall(LENGTH.pack(len(body)) + body)

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            OSError: the other side is gone, or says nothing for too long.
            ValueError: what it says is no message.
        """
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > LONGEST:
            raise ValueError("a message that long is none of otgan's")
        message = from_json(self._exactly(length))
        if not isinstance(message, dict):
            raise ValueError("a message is an object")
        return message

    def close(self) -> None:
        """Hang up, also for a thread that waits to receive."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _exactly(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            part = self._connection.recv(min(left, 2**20))
            if not part:
                raise ConnectionResetError("the other side hung up")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
