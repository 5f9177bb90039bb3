"""The user's own data: arrays, tables or pictures, read, checked, and split."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from otgan.config import UserData
from otgan.data import arrays, decoding, embedded, folder, large, saved, tables
from otgan.data.decoding import SMALLEST_SIDE
from otgan.data.examples import UserExamples, coarseness, too_coarse
from otgan.data.ondisk import Examples, OnDisk, blocks, some
from otgan.data.tables import Table
from otgan.errors import UserError
from otgan.places import KINDS, require_own

FEWEST = 100
FEWEST_HELD_OUT = 10

SPLIT_SEED = 20182
"""Part of how examples are held out: it never changes."""

OF_PICTURES = ("resize", "crop", "channels")
"""Keys of `UserData` that points have no use for."""
OF_POINTS = ("columns",)
"""And pictures."""


class OwnData(NamedTuple):
    """The user's examples, split: fields of a `otgan.data.Dataset`."""

    train: Examples
    test: Examples
    labels: np.ndarray | None
    columns: tuple[str, ...]
    notes: tuple[str, ...]


def load(data: UserData) -> OwnData:
    """Read the user's points or pictures and hold some out, chosen by a fixed seed; what memory
    has no room for stays on the disk.

    Raises:
        UserError: there is nothing there, or it is unfit to learn from.
    """
    found, path = read(data, whole=False), _path(data)
    _check(found.values, path)
    kept, held_out = _split(len(found.values), data.held_out, path)
    return OwnData(
        some(found.values, kept),
        some(found.values, held_out),
        None if found.labels is None else found.labels[kept],
        found.columns,
        found.notes,
    )


def read(data: UserData, whole: bool = True) -> UserExamples:
    """Read the user's points or pictures as a run would, however few; into memory if they are to be
    `whole`.

    Pictures have one channel wherever all are gray, also if they are stored in three, unless the
    config asks for three: two ways of storing one set are one set.

    Raises:
        UserError: there is nothing there, or it is unfit.
    """
    path = require_own(data)
    try:
        found = _read(path, data, whole)
        far = too_coarse(coarseness(found.values)) if found.values.ndim == 2 else ""
        return replace(found, notes=(*found.notes, *([far] if far else [])))
    except MemoryError:
        raise UserError(
            f"{path} holds more than this machine's memory: take fewer examples"
        ) from None


def picture_sizes(data: UserData) -> set[decoding.Size]:
    """Of the user's pictures as they are stored, each with a size of its own; none of an array's.

    Raises:
        UserError: they are in a table, and it cannot be read.
    """
    path = _path(data)
    if saved.is_saved(path):
        return embedded.sizes(saved.read(path))
    if path.is_dir():
        return folder.sizes(path)
    if not tables.is_parquet(path):
        return set()
    name = embedded.column(tables.kinds(path))
    return embedded.sizes(tables.read(path, data, [name])) if name else set()


def _path(data: UserData) -> Path:
    return Path(data.path).expanduser()


def _read(path: Path, data: UserData, whole: bool) -> UserExamples:
    if saved.is_saved(path):
        return _table(saved.read(path), path, data)
    if path.is_dir():
        saved.require_whole(path)
        _require_default(data, (*OF_POINTS, "label"), f"{path} is a folder", "files")
        return (None if whole else large.read(path, data)) or folder.read(path, data)
    if tables.is_table(path):
        return _table(tables.read(path, data), path, data)
    if path.suffix not in arrays.SUFFIXES and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is of no kind that otgan reads: give {KINDS}")
    return _array(path, data, whole)


def _table(table: Table, path: Path, data: UserData) -> UserExamples:
    """Its pictures if it has any, else its numbers."""
    pictures = embedded.column(table.kinds)
    if pictures is None:
        _require_default(data, OF_PICTURES, f"{path} is a table", "pictures")
        return tables.examples(table, path, data)
    _require_default(data, OF_POINTS, f"{path} holds pictures", "points")
    return embedded.examples(table, pictures, path, data)


def _array(path: Path, data: UserData, whole: bool) -> UserExamples:
    found = (None if whole else large.read(path, data)) or arrays.read(path, data)
    if found.values.ndim == 2:
        _require_default(data, OF_PICTURES, f"{path} holds points", "pictures")
        return found
    _require_default(data, OF_POINTS, f"{path} holds pictures", "points")
    if isinstance(found.values, OnDisk):
        return found  # prepared already
    return replace(found, values=decoding.prepare(found.values, data, path))


def _require_default(data: UserData, keys: Iterable[str], what: str, others: str) -> None:
    """Refuse keys that are set and that data of this kind have no use for."""
    fields = UserData.model_fields
    given = [f"--{key}" for key in keys if getattr(data, key) != fields[key].default]
    if given:
        raise UserError(f"{what}: leave out {' and '.join(given)}, for {others} alone")


def _split(count: int, share: float, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Which examples to learn from, and which are held out."""
    cut = round(count * share)
    if not FEWEST_HELD_OUT <= cut <= count - FEWEST_HELD_OUT:
        raise UserError(
            f"holding out {share:g} of the {count} examples in {path} leaves {count - cut} to learn"
            f" from: choose a held_out that leaves each part at least {FEWEST_HELD_OUT}"
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    return order[cut:], order[:cut]


def _check(examples: Examples, path: Path) -> None:
    """Refuse what no run can learn from."""
    if len(examples) < FEWEST:
        raise UserError(f"{path} holds {len(examples)} examples: at least {FEWEST} are needed")
    if examples.ndim == 4 and min(examples.shape[1:3]) < SMALLEST_SIDE:
        height, width = examples.shape[1:3]
        raise UserError(
            f"{path} holds pictures of {height} x {width} pixels: at least {SMALLEST_SIDE} x"
            f" {SMALLEST_SIDE} are needed"
        )
    first = examples[0]
    if all(np.array_equal(first, example) for block in blocks(examples) for example in block):
        raise UserError(
            f"all {len(examples)} examples in {path} are the same: there is nothing to learn from"
            " them"
        )
