"""The user's arrays: an `.npz` or an `.npy`, whose header is believed only as far as its bytes go,
and which is never unpickled.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from otgan.config import UserData
from otgan.data.examples import MOST_BYTES, UserExamples, as_examples, coded, listed
from otgan.data.ondisk import StoredArray
from otgan.errors import UserError

SUFFIXES = (".npz", ".npy")
NAMES = ("x", "images", "train")
"""Arrays of these names are the data where a file holds several."""

DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    OverflowError,
    RecursionError,
    zipfile.BadZipFile,
    NotImplementedError,
)
"""What NumPy and `zipfile` raise of a file that is not as it should be."""

LOCAL_HEADER = 30
"""Bytes before a member's name in a zip file; the last four say how long the name and what follows
it are.
"""


def read(path: Path, wanted: UserData) -> UserExamples:
    """Read an array of points or pictures, and the labels that lie beside it in an `.npz`.

    The columns of points have the names 0, 1, ...

    Raises:
        UserError: the file is none, is damaged, or holds something unfit.
    """
    array, labels = _npy(path, wanted) if path.suffix == ".npy" else _npz(path, wanted)
    values = as_examples(array, path)
    codes = None if labels is None else _codes(labels, len(values), str(wanted.label), path)
    if values.ndim > 2:
        return UserExamples(values, labels=codes)
    names = columns(values.shape[1], wanted, path)
    if wanted.columns:
        values = values[:, [*map(int, names)]]
    notes = (f"{path.name}: {len(values):,} numbers, each a point",) if array.ndim == 1 else ()
    return UserExamples(values, names, codes, notes)


def columns(count: int, wanted: UserData, path: Path) -> tuple[str, ...]:
    """The names of the columns that are taken of so many.

    Raises:
        UserError: one is named that is not there.
    """
    names = tuple(map(str, range(count)))
    if unknown := [name for name in wanted.columns if name not in names]:
        raise UserError(
            f"{path} has no column {unknown[0]!r}: those of an array are numbered from 0 to"
            f" {len(names) - 1}"
        )
    return wanted.columns or names


def labels(path: Path, wanted: UserData, count: int) -> np.ndarray | None:
    """The labels alone, of so many examples; None where none are asked for.

    Raises:
        UserError: there are none, or they are unfit.
    """
    if wanted.label is None:
        return None
    if path.suffix == ".npy":
        raise _no_labels(path)
    (found,) = read_named(path, (wanted.label,), "numpy.savez(file, x=array, label=labels)")
    return _codes(found, count, wanted.label, path)


def stored(path: Path, wanted: UserData) -> StoredArray | None:
    """Where in a file the examples lie as they are, one after the other.

    None where they do not, as in a compressed `.npz`, and where anything is wrong with the file:
    who reads it into memory says what.
    """
    if path.suffix == ".npy":
        return member(path)
    with suppress(*DAMAGED, UserError), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return member(path, _name([name for name in names if name != wanted.label], path))
    return None


def member(path: Path, name: str | None = None) -> StoredArray | None:
    """The same of the array of a name in an `.npz`, or of an `.npy`."""
    with suppress(*DAMAGED), path.open("rb") as file:
        if name is not None:
            file.seek(_begin(path, file, name))
        shape, by_column, kind = _header(file)
        found = StoredArray(path, file.tell(), shape, kind)
        there = path.stat().st_size - found.offset
        if shape and not (by_column or kind.hasobject) and shape[0] * found.row_bytes <= there:
            return found
    return None


def _begin(path: Path, file: Any, name: str) -> int:
    """The first byte of a member of an `.npz` that is not compressed."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    file.seek(entry.header_offset)
    lengths = struct.unpack_from("<HH", file.read(LOCAL_HEADER), LOCAL_HEADER - 4)
    return entry.header_offset + LOCAL_HEADER + sum(lengths)


def read_named(path: Path, names: tuple[str, ...], remedy: str) -> list[np.ndarray]:
    """The arrays of an `.npz` that have these names; `remedy` says how to write it.

    Raises:
        UserError: the file is none, is damaged, or lacks one.
    """
    with _opened(path, remedy) as arrays:
        if missing := [name for name in names if name not in arrays.files]:
            raise UserError(
                f"{path} has no array {missing[0]!r}: it holds {listed(arrays.files)}; write it"
                f" with {remedy}"
            )
        return [_member(arrays, name, path) for name in names]


def _codes(labels: np.ndarray, count: int, label: str, path: Path) -> np.ndarray:
    if labels.shape != (count,):
        raise UserError(
            f"{label} in {path} has shape {labels.shape}, and labels of {count} examples have"
            f" ({count},): name another array as the label"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise UserError(f"some labels {label} in {path} are NaN or infinite: mend them")
    return coded(labels, label, path)


def _npy(path: Path, wanted: UserData) -> tuple[np.ndarray, None]:
    if wanted.label is not None:
        raise _no_labels(path)
    with _told(path, "numpy.save(file, array)"), path.open("rb") as file:
        _require_room(file, path.stat().st_size, path)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False), None


def _no_labels(path: Path) -> UserError:
    return UserError(
        f"{path} holds one array and no labels: leave out --label, or write both with"
        " numpy.savez(file, x=array, label=labels)"
    )


def _npz(path: Path, wanted: UserData) -> tuple[np.ndarray, np.ndarray | None]:
    remedy = "numpy.savez(file, x=array)"
    with _opened(path, remedy) as arrays:
        names = [name for name in arrays.files if name != wanted.label]
        if wanted.label is not None and len(names) == len(arrays.files):
            raise UserError(
                f"{path} has no array {wanted.label!r} for labels: it holds {listed(names)}"
            )
        found = [
            _member(arrays, name, path)
            for name in (_name(names, path), wanted.label)
            if name is not None
        ]
    return found[0], found[1] if wanted.label is not None else None


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[np.lib.npyio.NpzFile]:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file, or is cut short: write one with {remedy}")
    with (
        _told(path, remedy),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        yield arrays


@contextmanager
def _told(path: Path, remedy: str) -> Iterator[None]:
    """Whatever NumPy finds wrong with a file, as one sentence."""
    try:
        yield
    except DAMAGED as error:
        if "Object arrays" in str(error):
            raise UserError(
                f"{path} holds Python objects, which otgan never unpickles: save one array of"
                " numbers"
            ) from error
        raise UserError(f"{path} is damaged ({error}): write it again with {remedy}") from error


def _member(arrays: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    assert arrays.zip is not None
    entry = next((e for e in arrays.zip.infolist() if e.filename == f"{name}.npy"), None)
    if entry is not None:  # else it is no array: what it is, numpy says
        with arrays.zip.open(entry) as member:
            _require_room(member, entry.file_size, path)
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise UserError(
            f"{path} is a zip file that holds no array: write one with numpy.savez(file, x=array)"
        )
    return array


def _require_room(file: Any, size: int, path: Path) -> None:
    """Refuse an array that says it is larger than what is stored of it, or than what fits: numpy
    makes room before it reads.
    """
    shape, _, kind = _header(file)
    claimed, stored = math.prod(shape) * kind.itemsize, size - file.tell()
    if kind.hasobject:
        return  # its size is not that of numbers, and it is refused anyway
    if claimed > stored:
        raise ValueError(f"its header tells of more than the {stored:,} bytes that are there")
    if claimed > MOST_BYTES:
        raise UserError(
            f"{path} holds an array of {claimed / 2**30:.0f} GiB, more than {MOST_BYTES >> 30} GiB:"
            " take fewer examples"
        )


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """An array's shape, whether it lies column by column, and its type; the file then stands at its
    first byte.
    """
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return read(file)


def _name(names: list[str], path: Path) -> str:
    known = [name for name in names if name in NAMES]
    if len(names) == 1 or len(known) == 1:
        return (known or names)[0]
    if not names:
        raise UserError(f"{path} holds no array: write one with numpy.savez(file, x=array)")
    raise UserError(
        f"{path} holds several arrays ({', '.join(names[:5])}): keep one, or name the data x"
    )
