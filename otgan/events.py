"""TensorBoard's files of events, written by ourselves.

A file is a row of records: the length of an event in 8 bytes, their checksum, the event, its
checksum. An event is a message of TensorFlow's `event.proto` in the coding of Protocol Buffers.
What packages there are for it import PyTorch or TensorFlow wherever these are installed, and leave
writing to a thread: where the disk is full the thread dies unheard, its queue fills, and the run
waits on it for ever. Here the error reaches the run.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

FLUSH_SECONDS = 10.0  # between two times that events are sure to be on disk
VERSION = b"brain.Event:2"
START = 1  # of a session: what earlier files have from its step on is not shown

# fields of messages: their numbers in `event.proto` and `summary.proto`
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION_LOG = 1, 2, 3, 5, 7
STATUS = 1  # of a session log
VALUE = 1  # of a summary
TAG, SIMPLE_VALUE = 1, 2  # of a value
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # how a field is written


class Events:
    """A run's file, written here and now.

    Args:
        folder: where it is made.
        purged: what earlier files there have of a step from this one on is not to be shown.
    """

    def __init__(self, folder: Path, purged: int):
        # to the microsecond: a run that is killed and goes on in the same second has another file
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = (folder.resolve() / name).open("wb")
        self._flushed = time.monotonic()
        self._put(_bytes(FILE_VERSION, VERSION))
        self._put(_whole(STEP, purged) + _bytes(SESSION_LOG, _whole(STATUS, START)))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append the numbers of a step, in single precision."""
        values = [
            _bytes(VALUE, _bytes(TAG, tag.encode()) + _single(SIMPLE_VALUE, x))
            for tag, x in scalars.items()
        ]
        self._put(_whole(STEP, step) + _bytes(SUMMARY, b"".join(values)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """See that all events are on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _put(self, event: bytes) -> None:
        event = _key(WALL_TIME, EIGHT_BYTES) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))


# --- Protocol Buffers -----------------------------------------------------------------------------


def _key(field: int, how: int) -> bytes:
    return _varint(field << 3 | how)


def _varint(value: int) -> bytes:
    """A whole number from 0, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _whole(field: int, value: int) -> bytes:
    return _key(field, VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, LENGTH) + _varint(len(value)) + value


def _single(field: int, value: float) -> bytes:
    with np.errstate(over="ignore"):  # what single precision cannot hold is infinite
        return _key(field, FOUR_BYTES) + np.float64(value).astype("<f4").tobytes()


# --- checksums: CRC-32C, turned and shifted as records want it ------------------------------------


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


REMAINDERS = [_remainder(byte) for byte in range(256)]


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = REMAINDERS[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF)
