"""Pictures of a run folder as data URIs: as they are, or reduced. No JAX."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from otgan.report.room import Room, spread_out
from otgan.results.run import Picture

LARGEST = 40_000_000  # pixels; more is no picture of ours
BYTES = 400_000  # of a picture that is taken as it is


class Embedded(NamedTuple):
    """A picture in the page."""

    kind: str
    step: int
    uri: str


class Film(NamedTuple):
    """Pictures of one kind by step."""

    kind: str
    frames: list[Embedded]


def films(pictures: Sequence[Picture], room: Room, problems: list[str]) -> list[Film]:
    """Pictures by kind, of each kind as many as have room, spread over the steps with the first and
    the last.

    Args:
        pictures: by kind and step; those of the first kind come first to the room.
        room: what they may take.
        problems: gains a sentence for each that is none.
    """
    found = []
    for kind in dict.fromkeys(picture.kind for picture in pictures):
        frames = _frames([picture for picture in pictures if picture.kind == kind], room, problems)
        room = room._replace(pictures=room.pictures - _bytes(frames))
        found += [Film(kind, frames)] if frames else []
    return found


def _frames(pictures: list[Picture], room: Room, problems: list[str]) -> list[Embedded]:
    """Pictures of one kind. The last one tells how large they may be, and so how many there are."""
    earlier = list(pictures)
    while earlier:
        last = earlier.pop()
        side, uri = _fitting(last, room, problems)
        if uri:
            break
    else:
        return []
    most = min(room.frames, room.pictures // len(uri))
    frames = [Embedded(last.kind, last.step, uri)]
    for picture in spread_out([*earlier, last], most)[-2::-1]:
        uri = embed(picture.path, side, problems)
        if uri and _bytes(frames) + len(uri) <= room.pictures:
            frames.append(Embedded(picture.kind, picture.step, uri))
    return frames[::-1]


def _fitting(picture: Picture, room: Room, problems: list[str]) -> tuple[int | None, str | None]:
    """A picture on the largest side on which it has room; none where it has room on none."""
    for side in room.sides or (None,):
        uri = embed(picture.path, side, problems)
        if uri is None or len(uri) <= room.pictures:
            return side, uri
    return None, None


def _bytes(frames: Sequence[Embedded]) -> int:
    return sum(len(frame.uri) for frame in frames)


def embed(path: Path, side: int | None, problems: list[str]) -> str | None:
    """A picture as a data URI; None, and a sentence more in `problems`, where it is none."""
    try:
        raw = path.read_bytes()
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as picture:
            if picture.width * picture.height > LARGEST:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
            picture.load()
            if side is None and len(raw) <= BYTES:
                return _uri("png", raw)
            return _uri("webp", _reduced(picture, side or max(picture.size)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problems.append(f"{path.name} is no picture that can be shown ({str(error)[:100]})")
        return None


def _reduced(picture: Image.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=0)
    return out.getvalue()


def _uri(kind: str, raw: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode('ascii')}"
