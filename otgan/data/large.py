"""The user's data that memory has no room for: examples stay in a file, their own where it has them
as they are trained on, else one in the cache that is written once.

It gives what `otgan.data.own` would of the same data in memory, to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from otgan import cache
from otgan.config import UserData
from otgan.data import arrays, decoding, folder, saved
from otgan.data.examples import (
    UserExamples,
    as_bytes,
    as_examples,
    finite,
    range_of,
    require_few_values,
)
from otgan.data.ondisk import OnDisk, StoredArray, blocks, gib
from otgan.data.room import room, told
from otgan.errors import UserError
from otgan.files import free_bytes, opened_whole, refusal


def read(path: Path, wanted: UserData) -> UserExamples | None:
    """The examples of an array or of a folder, on the disk.

    None where they fit, or where they are of another kind, which is read into memory.

    Raises:
        UserError: they are unfit, or there is no room for what has to be written of them.
    """
    if path.is_dir():
        return None if saved.is_saved(path) else _folder(path, wanted)
    stored = arrays.stored(path, wanted) if path.suffix in arrays.SUFFIXES else None
    most = room(wanted.max_memory)
    if stored is None or _bytes_of(stored) <= most:
        return None
    return _array(stored, path, wanted, most)


def _bytes_of(stored: StoredArray) -> int:
    """What its examples take in memory: as they are stored, points four bytes for each value at
    least.
    """
    each = 1 if len(stored.shape) > 2 else np.dtype(np.float32).itemsize
    return int(np.prod(stored.shape)) * max(each, stored.dtype.itemsize)


# --- arrays ---------------------------------------------------------------------------------------


def _array(stored: StoredArray, path: Path, wanted: UserData, most: int) -> UserExamples:
    labels = arrays.labels(path, wanted, stored.shape[0])
    note = told(path.name, _bytes_of(stored), most)
    if len(stored.shape) in (1, 2):
        columns, examples = _points(stored, path, wanted)
        return UserExamples(examples, columns, labels, (note,))
    return UserExamples(_pictures(stored, path, wanted), (), labels, (note,))


def _points(stored: StoredArray, path: Path, wanted: UserData) -> tuple[tuple[str, ...], OnDisk]:
    """Single precision, finite; and the names of their columns."""
    _require_numbers(stored, path)
    examples = OnDisk.of(stored)
    require_few_values(examples.shape[1], path)
    if stored.dtype == np.float32:
        for block in blocks(examples):
            finite(block, path)
    else:
        made = (finite(block, path) for block in blocks(examples))
        examples = _kept(path, (stored.identity, "points"), examples.shape, np.float32, made)
    columns = arrays.columns(examples.shape[1], wanted, path)
    return columns, examples.picking((*map(int, columns),)) if wanted.columns else examples


def _pictures(stored: StoredArray, path: Path, wanted: UserData) -> OnDisk:
    """Bytes, prepared as those of a folder are, of one channel where all are gray."""
    _require_numbers(stored, path)
    examples = OnDisk.of(stored)
    require_few_values(int(np.prod(examples.shape[1:])), path)
    changed = decoding.asked(wanted) != decoding.UNCHANGED
    if stored.dtype != np.uint8 or changed:
        made = _prepared(examples, path, wanted)
        first = next(made)
        shape = (len(examples), *first.shape[1:])
        asked = (stored.identity, *decoding.asked(wanted))
        examples = _kept(path, asked, shape, np.uint8, _again(first, made))
    return examples if wanted.channels == "rgb" else _one_channel_if_gray(examples)


def _prepared(examples: OnDisk, path: Path, wanted: UserData) -> Iterator[np.ndarray]:
    """Block by block, all of as many channels."""
    floats = examples.dtype != np.uint8
    low = _lowest(examples, path) if floats else 0.0
    color = wanted.channels == "rgb" or (wanted.channels == "auto" and examples.shape[3] == 3)
    for block in blocks(examples):
        pictures = as_bytes(finite(block, path), low) if floats else block
        made = decoding.prepare(pictures, wanted, path)
        yield np.broadcast_to(made, (*made.shape[:3], 3 if color else 1))


def _lowest(examples: OnDisk, path: Path) -> float:
    """Of float pictures, whose values must be in a range."""
    ends = np.asarray([range_of(finite(block, path), path) for block in blocks(examples)])
    return float(ends.min())


def _again(first: np.ndarray, others: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from others


def _one_channel_if_gray(examples: OnDisk) -> OnDisk:
    gray = examples.shape[3] == 3 and all(
        (block == block[..., :1]).all() for block in blocks(examples)
    )
    return examples.picking((0,)) if gray else examples


def _require_numbers(stored: StoredArray, path: Path) -> None:
    """Refuse what is neither points nor pictures in the words of the reader into memory."""
    points, real = len(stored.shape) < 3, np.issubdtype(stored.dtype, np.floating)
    channels = stored.shape[3:] in ((), (1,), (3,)) and len(stored.shape) < 5
    whole = np.issubdtype(stored.dtype, np.integer) if points else stored.dtype == np.uint8
    if not ((real or whole) and channels and (not points or stored.shape[1:] != (0,))):
        as_examples(np.broadcast_to(np.zeros((), stored.dtype), stored.shape), path)


# --- folders --------------------------------------------------------------------------------------


def _folder(path: Path, wanted: UserData) -> UserExamples | None:
    files, skipped = folder.find(path)
    size, most = decoding.first_size(files, wanted), room(wanted.max_memory)
    if size * len(files) <= most:
        return None
    there = [(str(f.relative_to(path)), (s := f.stat()).st_size, s.st_mtime_ns) for f in files]
    asked = (there, *decoding.asked(wanted))
    place = _place(path, asked)
    stored, notes = _found(place, len(files)), cache.read(place.with_suffix(".npz"))
    if stored is None or notes is None:
        stored, notes = _decoded(files, path, wanted, place)
    examples = OnDisk.of(stored)
    note = told(path.name, examples.nbytes, most)
    if notes["gray"] and wanted.channels == "auto":
        examples = examples.picking((0,))
    said = (*map(str, notes["notes"]), f"{note}; decoded, they are in {place}")
    return folder.told(examples, path, files, said, skipped)


def _decoded(
    files: list[Path], path: Path, wanted: UserData, place: Path
) -> tuple[StoredArray, dict[str, np.ndarray]]:
    """Decode pictures into a file of the cache, and keep beside it what was seen."""
    size = decoding.first_size(files, wanted) * len(files)
    with writing(place, size) as file:
        laid = Laid(file, len(files), 1 if decoding.are_gray(files, wanted) else 3)
        notes = decoding.read_all(((str(f), f) for f in files), path, wanted, laid)
    seen = {"notes": np.asarray(notes, dtype=str), "gray": np.asarray(laid.gray)}
    cache.write(place.with_suffix(".npz"), seen)
    found = _found(place, len(files))
    assert found is not None
    return found, seen


class Laid:
    """Takes pictures as a list does, and writes them to a file one after the other.

    Attributes:
        gray: whether all channels of all of them are equal.
    """

    def __init__(self, file: BinaryIO, count: int, channels: int) -> None:
        self.gray, self._file, self._count, self._channels = True, file, count, channels
        self._written, self._refused = 0, False

    def append(self, picture: np.ndarray) -> None:
        """Write one, of as many channels as all."""
        if self._refused:
            return
        shape = (*picture.shape[:2], self._channels)
        if not self._written:
            write_header(self._file, (self._count, *shape), np.dtype(np.uint8))
        self.gray = self.gray and bool((picture == picture[..., :1]).all())
        self._file.write(np.ascontiguousarray(np.broadcast_to(picture, shape)).data)
        self._written += 1

    def clear(self) -> None:
        """Take no more: they will not be used."""
        self._refused = True


# --- what is written of data ----------------------------------------------------------------------


def _kept(
    path: Path, asked: Any, shape: tuple[int, ...], dtype: Any, made: Iterable[np.ndarray]
) -> OnDisk:
    """Examples as they are made block by block, or as the cache has them from an earlier time."""
    place = _place(path, asked)
    if (found := _found(place, shape[0])) is None:
        with writing(place, int(np.prod(shape)) * np.dtype(dtype).itemsize) as file:
            write_header(file, shape, np.dtype(dtype))
            for block in made:
                file.write(np.ascontiguousarray(block).data)
        found = _found(place, shape[0])
    assert found is not None
    return OnDisk.of(found)


def _place(path: Path, asked: Any) -> Path:
    """Where in the cache stands what was made of such a source in such a way."""
    digest = hashlib.sha256(repr((str(path.resolve()), asked)).encode()).hexdigest()[:16]
    return cache.folder() / "decoded" / f"{path.name}-{digest}.npy"


def _found(place: Path, count: int) -> StoredArray | None:
    stored = arrays.member(place)
    return stored if stored and stored.shape[0] == count else None


@contextmanager
def writing(place: Path, size: int = 0) -> Iterator[BinaryIO]:
    """A file of the cache, whole or not at all; of about so many bytes, for which there has to be
    room.

    Raises:
        UserError: it cannot be written, as it must be where memory has no room.
    """
    if size > (free := free_bytes(place)):
        raise UserError(
            f"there is no room in memory for all examples, nor for {gib(size)} of them in"
            f" {place.parent}, where {gib(free)} are free: make room, or name another folder by"
            " OTGAN_CACHE"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with opened_whole(place) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"there is no room in memory for all examples, and {place} cannot be written"
            f" ({refusal(error, place)}): make room, or name another folder by OTGAN_CACHE"
        ) from error


def write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Begin an `.npy`, whose rows follow."""
    said = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)
