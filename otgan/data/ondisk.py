"""Examples, or what is seen of them, that stay in a file: rows are read when they are asked for,
and memory holds no more.

The file is read and not mapped. So what a process holds is what it has asked for, and a file that
is cut short while it is read is a sentence, not a signal.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from otgan.errors import UserError

BLOCK_BYTES = 2**26  # that are looked at at a time
AHEAD = getattr(os, "POSIX_FADV_WILLNEED", None)


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, its rows one after the other.

    Attributes:
        path: the file.
        offset: of its first byte there.
        shape: (n, ...).
        dtype: of its numbers.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @cached_property
    def identity(self) -> tuple[Any, ...]:
        """Of the file as it was when it was opened: another one as soon as anybody writes to it."""
        there = os.fstat(self._file)
        name = str(self.path.resolve()), self.offset, self.shape, self.dtype.str
        return (*name, there.st_size, there.st_mtime_ns, there.st_ctime_ns)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows of these numbers, (k,) whole ones: (k, ...).

        Raises:
            UserError: the file was cut short, or cannot be read any more.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not found.size:
            return found
        raw = found.reshape(-1).view(np.uint8)
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        begins = [0, *ends[:-1]]
        runs = sorted(zip(rows[begins].tolist(), begins, ends, strict=True))
        size, file = self.row_bytes, self._file
        try:
            if AHEAD is not None and len(runs) > 1:  # the disk may take them in its own order
                for row, begin, end in runs:
                    os.posix_fadvise(file, self.offset + row * size, (end - begin) * size, AHEAD)
            for row, begin, end in runs:
                self._fill(raw[begin * size : end * size], self.offset + row * size)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read any more ({error.strerror})") from error
        return found

    def _fill(self, target: np.ndarray, place: int) -> None:
        """Raises OSError, and UserError where the file ends too early."""
        done = 0
        while done < len(target):
            got = os.preadv(self._file, [target[done:].data], place + done)
            if not got:
                raise UserError(
                    f"{self.path} was cut short while it was read: bring it back as it was, and"
                    " run the same command again"
                )
            done += got

    @cached_property
    def _file(self) -> int:
        """Open for as long as the process lives: whoever puts another in its place changes
        nothing.
        """
        try:
            return os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror})") from error


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Examples that lie in a file, in an order and, where only some are wanted, with some of their
    last axis' entries.

    It has what of an array is needed of examples: a length, a shape, a type, and `[...]`, which
    reads. Nothing makes an array of all of it.

    Attributes:
        stored: the file.
        order: (N,) which rows of it.
        shape: (N, ...) of the examples: that of the rows, or a last axis of one more.
        picks: entries of the last axis; None are all.
    """

    stored: StoredArray
    order: np.ndarray
    shape: tuple[int, ...]
    picks: tuple[int, ...] | None = None

    @classmethod
    def of(cls, stored: StoredArray) -> OnDisk:
        """All rows, in their order: points of one number and gray pictures have a last axis of
        one.
        """
        shape = (*stored.shape, 1) if len(stored.shape) in (1, 3) else stored.shape
        return cls(stored, np.arange(shape[0]), shape)

    @classmethod
    def as_stored(cls, stored: StoredArray) -> OnDisk:
        """All rows, in their order and as they are."""
        return cls(stored, np.arange(stored.shape[0]), stored.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers."""
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """That they would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read the examples of a number, a slice, an array of numbers or of booleans.

        Raises:
            UserError: the file was cut short, or cannot be read any more.
        """
        rows = self.order[index]
        read = self.stored.read(np.atleast_1d(rows))
        whole = read.reshape(len(read), *self.shape[1:-1], -1)
        found = whole if self.picks is None else whole[..., list(self.picks)]
        return found if np.ndim(rows) else found[0]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise UserError(
            f"{self.stored.path} stays on the disk ({gib(self.nbytes)} of examples), and this needs"
            " all of them in memory: take fewer, or give more data.max_memory"
        )

    def part(self, index: Any) -> OnDisk:
        """Some of the examples. Nothing is read."""
        order = self.order[index]
        return replace(self, order=order, shape=(len(order), *self.shape[1:]))

    def picking(self, picks: tuple[int, ...]) -> OnDisk:
        """Some entries of the last axis. Nothing is read."""
        return replace(self, shape=(*self.shape[:-1], len(picks)), picks=picks)

    @property
    def identity(self) -> str:
        """A hash of the file's identity and of what is taken of it."""
        digest = hashlib.sha256(repr((self.stored.identity, self.shape, self.picks)).encode())
        digest.update(np.ascontiguousarray(self.order).data)
        return digest.hexdigest()


Examples = np.ndarray | OnDisk


def some(examples: Examples, index: Any) -> Examples:
    """Some of the examples, in memory or on the disk as they are."""
    return examples.part(index) if isinstance(examples, OnDisk) else examples[index]


def blocks(examples: Examples) -> Iterator[np.ndarray]:
    """All examples in their order: those in memory at once, of others so many at a time."""
    if isinstance(examples, np.ndarray):
        yield examples
        return
    size = max(1, BLOCK_BYTES // max(1, examples.nbytes // max(1, len(examples))))
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def gib(size: int) -> str:
    """Bytes, for a sentence."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MiB"
