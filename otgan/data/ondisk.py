"""Examples, or what is seen of them, that stay in a file: rows are read when they are asked for,
and memory holds no more.

The file is read and not mapped. So what a process holds is what it has asked for, and a file that
is cut short while it is read is a sentence, not a signal.
"""

from __future__ import annotations

import hashlib
import math
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from otgan.errors import UserError

BLOCK_BYTES = 2**26  # that are looked at at a time
NEAR = 2**14  # bytes between rows that are read at once
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
        order = np.argsort(rows, kind="stable")
        ascending, size = rows[order].astype(np.int64), self.row_bytes
        parts = _parts(ascending, size)
        spans = [(int(ascending[begin]), int(ascending[end - 1]) + 1) for begin, end in parts]
        self._announce(spans)
        try:
            for (begin, end), (first, last) in zip(parts, spans, strict=True):
                span = np.empty((last - first, *self.shape[1:]), self.dtype)
                self._fill(span.reshape(-1).view(np.uint8), self.offset + first * size)
                found[order[begin:end]] = span[ascending[begin:end] - first]
        except OSError as error:
            raise UserError(f"{self.path} cannot be read any more ({error.strerror})") from error
        return found

    def _announce(self, spans: list[tuple[int, int]]) -> None:
        """Tell the system of rows that will be read, which the disk may take in its own order."""
        if AHEAD is None or len(spans) == 1:
            return
        with suppress(OSError):  # it is advice
            for first, last in spans:
                start, size = first * self.row_bytes, (last - first) * self.row_bytes
                os.posix_fadvise(self._file, self.offset + start, size, AHEAD)

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
        """Open for as long as this is used: whoever puts another in its place changes nothing."""
        try:
            file = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror})") from error
        weakref.finalize(self, os.close, file)
        return file


def _parts(ascending: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Parts of ascending rows that are read at once, with what lies between: those that are near
    each other, within a block of the file.
    """
    starts = ascending * size
    apart = (np.diff(starts) > size + NEAR) | (np.diff(starts // BLOCK_BYTES) > 0)
    ends = [*(np.flatnonzero(apart) + 1).tolist(), len(ascending)]
    return [*zip([0, *ends[:-1]], ends, strict=True)]


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
        """Read the examples of a number, a slice, an array of numbers of any shape or of booleans.

        Raises:
            UserError: the file was cut short, or cannot be read any more.
        """
        rows = self.order[index]
        read = self.stored.read(np.ravel(rows))
        last = math.prod(self.stored.shape[1:]) // max(1, math.prod(self.shape[1:-1]))
        whole = read.reshape(len(read), *self.shape[1:-1], last)
        found = whole if self.picks is None else whole[..., list(self.picks)]
        return found.reshape(*np.shape(rows), *self.shape[1:])

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
        picked = picks if self.picks is None else tuple(self.picks[k] for k in picks)
        return replace(self, shape=(*self.shape[:-1], len(picks)), picks=picked)

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


def repeated(examples: Examples, times: int) -> Examples:
    """With a last axis of one so many times over, in memory or on the disk as they are."""
    if isinstance(examples, OnDisk):
        return examples.picking((0,) * times)
    return np.repeat(examples, times, axis=-1)


def blocks(examples: Examples) -> Iterator[np.ndarray]:
    """All examples in their order, so many at a time, in memory as on the disk: sums over them are
    the same to the bit.
    """
    size = max(1, BLOCK_BYTES // max(1, examples.nbytes // max(1, len(examples))))
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def gib(size: int) -> str:
    """Bytes, for a sentence."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MiB"
