"""Pictures of a run folder as data URIs: as they are, or reduced. No JAX."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from otgan.results.run import Picture

LARGEST = 40_000_000  # pixels; more is no picture of ours
BYTES = 400_000  # of a picture that is taken as it is
Item = TypeVar("Item")


class Embedded(NamedTuple):
    """A picture in the page."""

    kind: str
    step: int
    uri: str


class Film(NamedTuple):
    """Pictures of one kind by step."""

    kind: str
    frames: list[Embedded]


def films(
    pictures: Sequence[Picture], most: int, side: int | None, problems: list[str]
) -> list[Film]:
    """Pictures by kind, of each kind at most so many, spread over the steps with the first and the
    last.

    Args:
        pictures: by kind and step.
        most: of a kind.
        side: pixels to reduce them to; None takes them as they are.
        problems: gains a sentence for each that is none.
    """
    found = []
    for kind in dict.fromkeys(picture.kind for picture in pictures):
        chosen = spread_out([picture for picture in pictures if picture.kind == kind], most)
        frames = [
            Embedded(kind, picture.step, uri)
            for picture in chosen
            if (uri := embed(picture.path, side, problems))
        ]
        found += [Film(kind, frames)] if frames else []
    return found


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


def spread_out(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of a sequence, evenly, the last among them, and the first where there is room
    for two.
    """
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _reduced(picture: Image.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=0)
    return out.getvalue()


def _uri(kind: str, raw: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode('ascii')}"
