"""The user's examples in memory: what every reader of files makes of them, and the limits that all
of them keep.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from otgan.data.ondisk import Examples
from otgan.errors import UserError
from otgan.plain import with_commas

MOST_BYTES = 16 * 2**30
"""Examples that take more memory than this are refused before they are read."""

MOST_VALUES = 3 * 512**2
"""In one example, as in a color picture of 512 x 512.

A step holds a batch of examples many times over, and the generator's last layer has a few hundred
weights for each value, with four copies for Adam and the average.
"""

MOST_LABELS = 1_000
NAMED = 10
"""So many names at most stand in a sentence."""

QUOTED = re.compile(r'[\s,"]')
"""What a column's name is quoted for."""

ROUNDING = 1e-5
"""How far outside [0, 1] or [-1, 1] a float may lie, as resizing in floats leaves it."""


COARSE = 0.01
"""Steps of float32, in standard deviations, from which on it is said.

At 0.003 a run on two clouds came to what it came to around the origin; at 0.03 its plans had four
times the mass in the wrong place.
"""

LOOKED_AT = 10_000
"""So many points, about, say where they lie."""


@dataclass(frozen=True, eq=False)
class UserExamples:
    """The user's points or pictures as they were read.

    Attributes:
        values: (n, d) float32 points, or (n, h, w, c) uint8 pictures, c = 1 or 3; in memory, or on
            the disk.
        columns: of points: the names of the d coordinates.
        labels: (n,) whole numbers from 0, where the user's data have labels.
        notes: sentences on what was done and left out in reading.
    """

    values: Examples
    columns: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def as_examples(array: np.ndarray, name: object) -> np.ndarray:
    """An array as (n, d) float32 points or (n, h, w, c) uint8 pictures; `name` is what messages
    call it.

    Raises:
        UserError: it is unfit.
    """
    return one_channel_if_gray(_typed(array, name))


def as_bytes(pictures: np.ndarray, low: float) -> np.ndarray:
    """Float pictures, (n, h, w, c), as uint8: in [0, 1], or in [-1, 1] if the lowest value of all
    is negative, they are stretched to 0..255.
    """
    unit = (pictures + 1) / 2 if low < -ROUNDING else pictures
    return np.rint(unit.clip(0, 1) * 255).astype(np.uint8)


def range_of(values: np.ndarray, path: object) -> tuple[float, float]:
    """The lowest and the highest value of float pictures, or 0 where that lies beyond.

    Raises:
        UserError: they are outside of [-1, 1].
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        raise UserError(
            f"{path} holds float pictures from {low:g} to {high:g}: scale them to [0, 1] or [-1,"
            " 1], or save bytes (0 to 255) as uint8"
        )
    return low, high


def one_channel_if_gray(examples: np.ndarray) -> np.ndarray:
    """Pictures with three equal channels with one of them; all else as it is."""
    if (
        examples.ndim == 4
        and examples.shape[3] == 3
        and all(np.array_equal(examples[..., 0], examples[..., k]) for k in (1, 2))
    ):
        return np.ascontiguousarray(examples[..., :1])
    return examples


def coded(labels: np.ndarray, label: str, path: object) -> np.ndarray:
    """Labels of any kind, (n,), as whole numbers from 0 in their order.

    Raises:
        UserError: there are too many different ones for labels.
    """
    kinds, codes = np.unique(labels, return_inverse=True)
    most = most_labels(len(labels))
    if len(kinds) > most:
        raise UserError(
            f"{label} of {path} has {len(kinds):,} different values, and labels of {len(labels):,}"
            f" examples at most {most:,}: name something else as the label"
        )
    return codes.reshape(-1)


def most_labels(count: int) -> int:
    """How many different labels so many examples may have: what differs more is no label."""
    return min(MOST_LABELS, count // 2)


def require_few_values(count: int, path: object) -> None:
    """Refuse examples of so many values each that no step could hold a batch of them.

    Raises:
        UserError: they are too many.
    """
    if count > MOST_VALUES:
        raise UserError(
            f"every example in {path} has {count:,} values, and at most {MOST_VALUES:,} fit a"
            " step's memory, as in a color picture of 512 x 512: take fewer, or scale pictures down"
        )


def listed(names: Iterable[object]) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    words = [*map(str, names)]
    more = len(words) - NAMED
    return ", ".join(words[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def named(names: Iterable[str]) -> str:
    """Columns for a sentence, each as `--columns` wants it: in quotes where its name alone would
    not do, or hide where the next begins.
    """
    return listed(
        '"' + name.replace('"', '""') + '"' if not name or QUOTED.search(name) else name
        for name in names
    )


def columns_flag(names: Iterable[str]) -> str:
    """What to type for columns to be taken, whatever their names."""
    return f"--columns {shlex.quote(with_commas(names))}"


def coarseness(points: Examples) -> float:
    """How far apart float32's numbers are where points lie, over their standard deviation: the
    largest of their coordinates', constant ones left out.
    """
    some = points[:: max(1, len(points) // LOOKED_AT)].astype(np.float64)
    if not len(some):
        return 0.0
    center, deviations = some.mean(axis=0), some.std(axis=0)
    moving = deviations > 0
    steps = np.spacing(abs(center[moving]).astype(np.float32))
    return float((steps / deviations[moving]).max(initial=0.0))


def too_coarse(coarse: float) -> str:
    """A sentence on points so far from the origin that little is left of their digits; empty where
    that is not so.
    """
    if coarse <= COARSE:
        return ""
    return (
        f"points lie so far from the origin that single precision rounds them to {coarse:.0%} of"
        " their standard deviation: subtract their mean first, in double precision"
    )


def finite(array: np.ndarray, path: object) -> np.ndarray:
    """The array as float32.

    Raises:
        UserError: some of its examples hold no finite numbers.
    """
    with np.errstate(over="ignore"):
        values = array.astype(np.float32, copy=False)
    bad = int((~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))).sum())
    if bad:
        raise UserError(
            f"{bad} of the {len(values)} examples in {path} hold NaN, infinity or a number beyond"
            " float32: remove or mend them"
        )
    return values


def _typed(array: np.ndarray, path: object) -> np.ndarray:
    """Points as float32, pictures as uint8 with a channel axis."""
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise UserError(
            f"{path} holds values of type {array.dtype}: save real numbers, integers or floats"
        )
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 and array.shape[1]:
        require_few_values(array.shape[1], path)
        return finite(array, path)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return _bytes(array, path)
    raise UserError(
        f"{path} holds an array of shape {array.shape}: points are (n, d) or (n,), pictures"
        " (n, h, w) or (n, h, w, c) with c = 1 or 3 channels last"
    )


def _bytes(array: np.ndarray, path: object) -> np.ndarray:
    """Pictures as uint8: floats in [0, 1], or in [-1, 1] if any is negative, are stretched to
    0..255.
    """
    if array.dtype == np.uint8:
        return array
    if np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{path} holds pictures of type {array.dtype}: save them as uint8 (0 to 255) or as"
            " floats in [0, 1]"
        )
    values = finite(array, path)
    return as_bytes(values, range_of(values, path)[0])
