"""How much of a page its pictures and curves may take. No JAX.

All runs of a page share one room, so a page of a thousand cells has smaller pictures and coarser
curves than one of ten, and not a hundred times the bytes.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

ALONE = 4_000_000  # bytes of the pictures of a run that has a page of its own
SHARED = 2_000_000  # bytes of the pictures of all runs of a page
FRAMES = 40  # pictures of a kind of a run alone
SMALL_FRAMES = 12  # and of one among many
THUMBNAILS = 200  # pictures of a kind, so that a page is made in seconds
SIDES = (320, 224, 160, 112, 80, 56)  # pixels of a picture among many, the largest that has room
CURVE = 1_000  # points of a curve at most
FEWEST = 24  # and at least, however many runs there are
POINTS = 24_000  # of the same curve of all runs
Item = TypeVar("Item")


class Room(NamedTuple):
    """What one run may take.

    Attributes:
        pictures: bytes of all its pictures.
        frames: pictures of a kind at most.
        sides: pixels to reduce a picture to, from the largest; empty takes it as it is.
        points: of a curve.
    """

    pictures: int
    frames: int
    sides: tuple[int, ...]
    points: int


def alone() -> Room:
    """That of a run which has the page to itself."""
    return Room(ALONE, FRAMES, (), CURVE)


def among(runs: int) -> Room:
    """That of one of so many."""
    runs = max(1, runs)
    frames = max(1, min(SMALL_FRAMES, THUMBNAILS // runs))
    return Room(SHARED // runs, frames, SIDES, points(runs))


def points(runs: int) -> int:
    """How many points a curve has where so many runs have one."""
    return max(FEWEST, min(CURVE, POINTS // max(1, runs)))


def spread_out(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of a sequence, evenly, the last among them, and the first where there is room
    for two.
    """
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def packed(text: str) -> str:
    """A text in a third of its room, as letters and digits; the page's script unpacks it.

    The same text gives the same bytes.
    """
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")
