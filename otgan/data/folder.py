"""The user's pictures: a folder of files, decoded one by one, and made to be of one size and one
number of channels where that is asked for.
"""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from otgan.config import UserData
from otgan.data.examples import (
    MOST_BYTES,
    NAMED,
    UserExamples,
    coded,
    listed,
    most_labels,
    one_channel_if_gray,
    require_few_values,
)
from otgan.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
SMALLEST_SIDE = 8
MOST_PIXELS = 2**26
"""In one file, as in 8,192 x 8,192: a larger one is refused before it is decoded."""

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # Exif's tag, and its values of a quarter's turn

UNCHANGED = None, "none", "auto"
"""`resize`, `crop` and `channels` of pictures that stay as they are."""

Size = tuple[int, int]  # width and height, in pixels


class UnfitError(Exception):
    """A picture cannot be used; the rest of a sentence that begins with its file."""


@dataclass
class Reading:
    """What is known of a folder as it is read.

    Attributes:
        wanted: how pictures are to be prepared.
        pictures: those so far, as long as there is no fault.
        faults: of single files, a sentence each.
        sizes: after preparation: how many pictures have each, and the first file of them.
        seen: how many had transparent parts, several frames, or were enlarged.
    """

    wanted: UserData
    pictures: list[np.ndarray] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sizes: dict[Size, tuple[int, Path]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, file: Path) -> None:
        """Decode a file; keep its picture only as long as all are fit."""
        try:
            picture = _prepared(_decoded(file, self.seen), self.wanted, self.seen)
        except UnfitError as fault:
            self.faults.append(f"{file} {fault}")
            return
        count, first = self.sizes.get(picture.size, (0, file))
        self.sizes[picture.size] = count + 1, first
        if self.faults or len(self.sizes) > 1:
            self.pictures.clear()
        else:
            self.pictures.append(_array(picture))


def read(path: Path, wanted: UserData) -> UserExamples:
    """Read a folder's pictures, searched recursively, in the order of their paths.

    Where all of them lie in subfolders, two at least, these are their labels.

    Raises:
        UserError: there are none, or some cannot be used; all that is wrong in one message.
    """
    files, skipped = _files(path)
    if not files:
        others = f", and it holds {skipped}" if skipped else ""
        raise UserError(
            f"{path} holds no pictures: otgan reads {', '.join(sorted(SUFFIXES))}{others}"
        )
    reading = Reading(wanted)
    for file in files:
        reading.add(file)
        if len(reading.pictures) == 1:
            _require_room(reading.pictures[0], len(files), path)
    if reading.faults or len(reading.sizes) > 1:
        raise UserError(_refusal(reading, path))
    values = _stacked(reading.pictures, wanted)
    labels = _subfolders(files, path)
    return UserExamples(values, (), labels, _said(reading, values, labels, skipped, path))


def sizes(path: Path) -> set[Size]:
    """Of the pictures in a folder as they lie there, by their headers; those that have none are
    left to `read` to refuse.
    """
    found = set()
    for file in _files(path)[0]:
        with suppress(OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                opened = Image.open(file)
            with opened:
                turned = opened.getexif().get(ORIENTATION, 1) in SIDEWAYS
                found.add(opened.size[::-1] if turned else opened.size)
    return found


def prepare(pictures: np.ndarray, wanted: UserData, path: Path) -> np.ndarray:
    """Pictures of an array, (n, h, w, c) uint8, as those of a folder are prepared.

    Raises:
        UserError: they are too large or too small.
    """
    require_few_values(pictures[:1].size, path)
    if not len(pictures) or (wanted.resize, wanted.crop, wanted.channels) == UNCHANGED:
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


def _decoded(file: Path, seen: Counter[str]) -> Image.Image:
    """In mode L or RGB, the right way up, transparency laid onto white.

    Raises:
        UnfitError: it is no picture, or too large a one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(file)
        with opened:
            _require_few_pixels(opened.size)
            seen["with several frames, of which the first is taken"] += getattr(
                opened, "is_animated", False
            )
            return _opaque(ImageOps.exif_transpose(opened), seen)
    except Image.DecompressionBombError:
        raise UnfitError(f"has more than {MOST_PIXELS:,} pixels: scale it down first") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        why = f"cannot be decoded as a picture ({error})"
        raise UnfitError(f"{why}: remove or replace it") from None


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
    gray = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        visible = np.asarray(picture.getchannel("A"))
        seen["with transparent parts, laid onto white"] += bool(visible.min() < 255)
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if gray else "RGB")


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


def _files(path: Path) -> tuple[list[Path], str]:
    """The pictures in a folder, sorted, and in words what else there is."""
    files, others = [], Counter()
    for file in sorted(path.rglob("*")):
        if not file.is_file():
            continue
        if file.name.startswith("."):
            others["hidden"] += 1
        elif file.suffix.lower() in SUFFIXES:
            files.append(file)
        else:
            others[file.suffix.lower() or "suffixless"] += 1
    counts = (f"{n:,} {kind} file{'s' if n > 1 else ''}" for kind, n in others.most_common())
    return files, listed(counts)


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


def _subfolders(files: list[Path], path: Path) -> np.ndarray | None:
    """The subfolder of each file as its label."""
    first = [file.relative_to(path).parts[:-1][:1] for file in files]
    if not all(first) or not 2 <= len(set(first)) <= most_labels(len(files)):
        return None
    return coded(np.array([name for (name,) in first]), "the subfolder", path)


def _said(
    reading: Reading, values: np.ndarray, labels: np.ndarray | None, skipped: str, path: Path
) -> tuple[str, ...]:
    """What a user should know of how the folder was read."""
    n, h, w, c = values.shape
    what = f"{n:,} pictures of {_words((w, h))} pixels, {'gray' if c == 1 else 'in color'}"
    if labels is not None:
        what += f", in {labels.max() + 1} subfolders, which are their labels"
    notes = [f"{path.name}: {what}"]
    notes += [f"{count:,} of them {how}" for how, count in reading.seen.items() if count]
    return (*notes, *([f"skipped: {skipped}"] if skipped else []))


def _refusal(reading: Reading, path: Path) -> str:
    """All that is wrong with a folder: its first unfit files, and its sizes."""
    faults = reading.faults[:NAMED]
    if more := len(reading.faults) - len(faults):
        faults.append(f"and {more:,} more files")
    if len(reading.sizes) > 1:
        faults.append(_different_sizes(reading.sizes))
    if len(faults) == 1:
        return faults[0]
    return "\n".join([f"{path} cannot be read as it is:", *(f"  {fault}" for fault in faults)])


def _different_sizes(sizes: dict[Size, tuple[int, Path]]) -> str:
    common = sorted(sizes, key=lambda size: -sizes[size][0])
    counts = (f"{_words(size)} ({sizes[size][0]:,}, such as {sizes[size][1]})" for size in common)
    side = max(SMALLEST_SIDE, min(common[0]))
    return (
        f"pictures must all have one size, and have {len(sizes)}: {listed(counts)}: scale"
        f" them, or let otgan run do it with --resize {side} --crop center"
    )
