"""Encoded pictures, as files or as bytes in memory: decoded one by one, and made to be of one size
and one number of channels where that is asked for.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from otgan.config import UserData
from otgan.data.examples import (
    MOST_BYTES,
    NAMED,
    listed,
    one_channel_if_gray,
    require_few_values,
)
from otgan.data.ondisk import Examples
from otgan.errors import UserError

SMALLEST_SIDE = 8
MOST_PIXELS = 2**26
"""In one file, as in 8,192 x 8,192: a larger one is refused before it is decoded."""

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # Exif's tag, and its values of a quarter's turn

UNREADABLE = OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError
"""What Pillow raises of a file that is no picture, or too large a one."""

UNCHANGED = None, "none", "auto"
"""What is asked of pictures that stay as they are; see `asked`."""

Size = tuple[int, int]  # width and height, in pixels
Encoded = Path | bytes  # a picture's file, or what stands in one


@runtime_checkable
class Taker(Protocol):
    """What pictures are given to as they are read: it holds them, or writes them down."""

    def append(self, picture: np.ndarray, /) -> None:
        """Take one, (h, w, 1 or 3) uint8."""

    def clear(self) -> None:
        """Forget them: none will be used."""


@dataclass
class Held:
    """Pictures in memory, of which there will be `count`: judged by the first, before the others
    are decoded.
    """

    count: int
    path: Path
    pictures: list[np.ndarray] = field(default_factory=list)

    def append(self, picture: np.ndarray) -> None:
        """As `Taker`.

        Raises:
            UserError: all of them would be too large.
        """
        if not self.pictures:
            _require_room(picture, self.count, self.path)
        self.pictures.append(picture)

    def clear(self) -> None:
        """As `Taker`."""
        self.pictures.clear()


class UnfitError(Exception):
    """A picture cannot be used; the rest of a sentence that begins with its name."""


@dataclass
class Reading:
    """What is known of pictures as they are read.

    Attributes:
        wanted: how pictures are to be prepared.
        pictures: takes them, as long as there is no fault.
        faults: of single ones, a sentence each.
        sizes: after preparation: how many pictures have each, and the name of the first of them.
        seen: how many had transparent parts, several frames, or were enlarged.
    """

    wanted: UserData
    pictures: Taker
    faults: list[str] = field(default_factory=list)
    sizes: dict[Size, tuple[int, str]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def refuse(self, name: str, why: str) -> None:
        """Note that a picture cannot be used, in the rest of a sentence that begins with its
        name.
        """
        self.faults.append(f"{name} {why}")

    def add(self, name: str, source: Encoded) -> None:
        """Decode a picture; keep it only as long as all are fit."""
        try:
            picture = _prepared(_decoded(source, self.seen), self.wanted, self.seen)
        except UnfitError as fault:
            self.refuse(name, str(fault))
            return
        count, first = self.sizes.get(picture.size, (0, name))
        self.sizes[picture.size] = count + 1, first
        if self.faults or len(self.sizes) > 1:
            self.pictures.clear()
        else:
            self.pictures.append(_array(picture))


def decoded(
    sources: Iterable[tuple[str, Encoded | str]],
    count: int,
    path: Path,
    wanted: UserData,
    kind: str = "files",
) -> tuple[np.ndarray, list[str]]:
    """Pictures as (n, h, w, c) uint8, and sentences on what was done to some of them.

    Args:
        sources: what messages call a picture, and the picture, or in words why there is none.
        count: how many there are, at least one.
        path: what holds them.
        wanted: how they are to be prepared.
        kind: what messages call so many of them.

    Raises:
        UserError: some cannot be used; all that is wrong in one message.
    """
    held = Held(count, path)
    notes = read_all(sources, path, wanted, held, kind)
    return _stacked(held.pictures, wanted), notes


def read_all(
    sources: Iterable[tuple[str, Encoded | str]],
    path: Path,
    wanted: UserData,
    taker: Taker,
    kind: str = "files",
) -> list[str]:
    """Hand pictures over one by one, as `decoded` does; the sentences alone.

    Raises:
        UserError: some cannot be used; all that is wrong in one message.
    """
    reading = Reading(wanted, taker)
    for name, source in sources:
        if isinstance(source, str):
            reading.refuse(name, source)
        else:
            reading.add(name, source)
    if reading.faults or len(reading.sizes) > 1:
        raise UserError(_refusal(reading, path, kind))
    return [f"{some:,} of them {how}" for how, some in reading.seen.items() if some]


def first_size(files: Iterable[Path], wanted: UserData) -> int:
    """The bytes of the first picture that can be used, in three channels if it is in color; 0 where
    none can.
    """
    for file in files:
        with suppress(UnfitError):
            return _array(_prepared(_decoded(file, Counter()), wanted, Counter())).size
    return 0


def are_gray(files: Iterable[Path], wanted: UserData) -> bool:
    """Whether pictures will have one channel each, as far as their headers say."""
    if wanted.channels != "auto":
        return wanted.channels == "gray"
    for file in files:
        with suppress(*UNREADABLE), _opened(file) as opened:
            if not _is_gray(opened.mode):
                return False
    return True


def sizes(sources: Iterable[Encoded]) -> set[Size]:
    """Of pictures as they are stored, by their headers; those that have none are left to `decoded`
    to refuse.
    """
    found = set()
    for source in sources:
        with suppress(*UNREADABLE), _opened(source) as opened:
            turned = opened.getexif().get(ORIENTATION, 1) in SIDEWAYS
            found.add(opened.size[::-1] if turned else opened.size)
    return found


def asked(wanted: UserData) -> tuple[int | None, str, str]:
    """How pictures are to be prepared."""
    return wanted.resize, wanted.crop, wanted.channels


def described(pictures: Examples) -> str:
    """Their number, size and channels, for a sentence."""
    n, h, w, c = pictures.shape
    return f"{n:,} pictures of {_words((w, h))} pixels, {'gray' if c == 1 else 'in color'}"


def prepare(pictures: np.ndarray, wanted: UserData, path: Path) -> np.ndarray:
    """Pictures of an array, (n, h, w, c) uint8, as those of a folder are prepared.

    Raises:
        UserError: they are too large or too small.
    """
    require_few_values(pictures[:1].size, path)
    if not len(pictures) or asked(wanted) == UNCHANGED:
        return pictures
    squeezed = pictures[..., 0] if pictures.shape[3] == 1 else pictures
    try:
        done = [
            _array(_prepared(Image.fromarray(picture), wanted, Counter())) for picture in squeezed
        ]
    except UnfitError as fault:
        raise UserError(f"every picture in {path} {fault}") from None
    return _stacked(done, wanted)


# --- one picture ----------------------------------------------------------------------------------


def _opened(source: Encoded) -> Image.Image:
    """With its header read alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _decoded(source: Encoded, seen: Counter[str]) -> Image.Image:
    """In mode L or RGB, the right way up, transparency laid onto white.

    Raises:
        UnfitError: it is no picture, or too large a one.
    """
    try:
        with _opened(source) as opened:
            _require_few_pixels(opened.size)
            seen["with several frames, of which the first is taken"] += getattr(
                opened, "is_animated", False
            )
            return _opaque(ImageOps.exif_transpose(opened), seen)
    except Image.DecompressionBombError:
        raise UnfitError(f"has more than {MOST_PIXELS:,} pixels: scale it down first") from None
    except UNREADABLE as error:
        why = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise UnfitError(f"cannot be decoded as a picture ({why}): remove or replace it") from None


def _require_few_pixels(size: Size) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise UnfitError(
            f"is said to have {_words(size)} pixels, more than {MOST_PIXELS:,} in all: scale it"
            " down first"
        )


def _opaque(picture: Image.Image, seen: Counter[str]) -> Image.Image:
    """In mode L or RGB."""
    if picture.mode.startswith("I"):  # 16 bits of gray, which Pillow's own conversion would clip
        return Image.fromarray(
            (np.asarray(picture).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
        )
    gray = _is_gray(picture.mode)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        visible = np.asarray(picture.getchannel("A"))
        seen["with transparent parts, laid onto white"] += bool(visible.min() < 255)
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if gray else "RGB")


def _is_gray(mode: str) -> bool:
    return mode in ("1", "L", "LA") or mode.startswith("I")


def _prepared(picture: Image.Image, wanted: UserData, seen: Counter[str]) -> Image.Image:
    """Cropped, scaled and with the channels that are wanted.

    Raises:
        UnfitError: it is too small.
    """
    if wanted.channels != "auto":
        picture = picture.convert("L" if wanted.channels == "gray" else "RGB")
    if wanted.crop == "center":
        picture = _square(picture)
    side = min(picture.size)
    if side < SMALLEST_SIDE:
        least = _words((SMALLEST_SIDE, SMALLEST_SIDE))
        raise UnfitError(f"has {_words(picture.size)} pixels, fewer than {least}: remove it")
    if wanted.resize in (None, side):
        return picture
    seen[f"smaller than {wanted.resize} pixels, enlarged"] += side < wanted.resize
    width, height = (round(length * wanted.resize / side) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _square(picture: Image.Image) -> Image.Image:
    """The square in the middle, as large as it can be."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _array(picture: Image.Image) -> np.ndarray:
    """(h, w, 1 or 3) uint8."""
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _words(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


# --- all pictures ---------------------------------------------------------------------------------


def _require_room(first: np.ndarray, count: int, path: Path) -> None:
    """Judged by the first picture, before the others are decoded."""
    require_few_values(first.size, path)
    if first.size * count > MOST_BYTES:
        raise UserError(
            f"{path} holds {count} pictures of {_words(first.shape[1::-1])} pixels, more than"
            f" {MOST_BYTES >> 30} GiB: scale them down with --resize, or take fewer"
        )


def _stacked(pictures: list[np.ndarray], wanted: UserData) -> np.ndarray:
    """(n, h, w, c); c is 1 where one channel says all, unless three are asked for."""
    channels = max(picture.shape[2] for picture in pictures)
    shape = *pictures[0].shape[:2], channels
    together = np.stack([np.broadcast_to(picture, shape) for picture in pictures])
    return together if wanted.channels == "rgb" else one_channel_if_gray(together)


def _refusal(reading: Reading, path: Path, kind: str) -> str:
    """All that is wrong: the first unfit pictures, and their sizes."""
    faults = reading.faults[:NAMED]
    if more := len(reading.faults) - len(faults):
        faults.append(f"and {more:,} more {kind}")
    if len(reading.sizes) > 1:
        faults.append(_different_sizes(reading.sizes))
    if len(faults) == 1:
        return faults[0]
    return "\n".join([f"{path} cannot be read as it is:", *(f"  {fault}" for fault in faults)])


def _different_sizes(sizes: dict[Size, tuple[int, str]]) -> str:
    common = sorted(sizes, key=lambda size: -sizes[size][0])
    counts = (f"{_words(size)} ({sizes[size][0]:,}, such as {sizes[size][1]})" for size in common)
    side = max(SMALLEST_SIDE, min(common[0]))
    return (
        f"pictures must all have one size, and have {len(sizes)}: {listed(counts)}: scale"
        f" them, or let otgan run do it with --resize {side} --crop center"
    )
