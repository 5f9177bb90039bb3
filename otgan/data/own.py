"""The user's own data: an `.npz` that holds one array, or a folder of pictures of one size."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from otgan.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
NAMES = ("x", "images", "train")
"""Arrays of these names are the data where a file holds several."""

FEWEST = 100
SMALLEST_SIDE = 8
FEWEST_HELD_OUT = 10
MOST_BYTES = 16 * 2**30
"""Examples that take more memory than this are refused before they are read."""

SPLIT_SEED = 20182
"""Part of how examples are held out: it never changes."""

ROUNDING = 1e-5
"""How far outside [0, 1] or [-1, 1] a float may lie, as resizing in floats leaves it."""


def load(path: Path, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Read the user's points or pictures and hold some out, chosen by a fixed seed.

    Args:
        path: an `.npz` with one array, (n, d) points or (n, h, w[, c]) pictures, or a folder of
            pictures, searched recursively.
        held_out: the share to hold out, in (0, 1).

    Returns:
        Examples to learn from and examples held out: (n, d) float32 points or (n, h, w, c) uint8
        pictures, c = 1 or 3.

    Raises:
        UserError: there is nothing there, or it is unfit.
    """
    examples = read(path)
    _check(examples, path)
    return _split(examples, held_out, path)


def read(path: Path) -> np.ndarray:
    """Read the user's points or pictures as they are: (n, d) float32 or (n, h, w, c) uint8, c = 1
    or 3, however few.

    c is 1 wherever all pictures are gray, also if they are stored in three channels: two ways of
    storing one set are one set.

    Raises:
        UserError: there is nothing there, or it is unfit.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: give an .npz file or a folder of pictures")
    try:
        return (
            _one_channel_if_gray(_folder(path))
            if path.is_dir()
            else as_examples(_array(path), path)
        )
    except MemoryError:
        raise UserError(
            f"{path} holds more than this machine's memory: take fewer examples"
        ) from None


def as_examples(array: np.ndarray, name: object) -> np.ndarray:
    """An array as `read` gives it; `name` is what messages call it.

    Raises:
        UserError: it is unfit.
    """
    return _one_channel_if_gray(_typed(array, name))


def _one_channel_if_gray(examples: np.ndarray) -> np.ndarray:
    if (
        examples.ndim == 4
        and examples.shape[3] == 3
        and all(np.array_equal(examples[..., 0], examples[..., k]) for k in (1, 2))
    ):
        return np.ascontiguousarray(examples[..., :1])
    return examples


def _split(examples: np.ndarray, held_out: float, path: Path) -> tuple[np.ndarray, np.ndarray]:
    cut = round(len(examples) * held_out)
    if not FEWEST_HELD_OUT <= cut <= len(examples) - FEWEST_HELD_OUT:
        raise UserError(
            f"holding out {held_out:g} of the {len(examples)} examples in {path} leaves"
            f" {len(examples) - cut} to learn from: choose a held_out that leaves each part at"
            f" least {FEWEST_HELD_OUT}"
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(examples))
    return examples[order[cut:]], examples[order[:cut]]


def _check(examples: np.ndarray, path: Path) -> None:
    """Refuse what no run can learn from."""
    if len(examples) < FEWEST:
        raise UserError(f"{path} holds {len(examples)} examples: at least {FEWEST} are needed")
    if examples.ndim == 4 and min(examples.shape[1:3]) < SMALLEST_SIDE:
        height, width = examples.shape[1:3]
        raise UserError(
            f"{path} holds pictures of {height} x {width} pixels: at least {SMALLEST_SIDE} x"
            f" {SMALLEST_SIDE} are needed"
        )
    if all(np.array_equal(examples[0], example) for example in examples):
        raise UserError(
            f"all {len(examples)} examples in {path} are the same: there is nothing to learn from"
            " them"
        )


# --- arrays ---------------------------------------------------------------------------------------


def _array(path: Path) -> np.ndarray:
    """The one array of an `.npz`, never unpickled."""
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is no .npz file, or is cut short: write one with numpy.savez(file, x=array)"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            name = _name(arrays.files, path)
            _require_room(arrays.zip, name, path)
            array = arrays[name]
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        OverflowError,
        RecursionError,
        zipfile.BadZipFile,
        NotImplementedError,
    ) as error:
        if "Object arrays" in str(error):
            raise UserError(
                f"{path} holds Python objects, which otgan never unpickles: save one array of"
                " numbers"
            ) from error
        raise UserError(
            f"{path} is damaged ({error}): write it again with numpy.savez(file, x=array)"
        ) from error
    if not isinstance(array, np.ndarray):
        raise UserError(
            f"{path} is a zip file that holds no array: write one with numpy.savez(file, x=array)"
        )
    return array


def _require_room(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Refuse an array that says it is larger than what is stored of it, or than what fits: numpy
    makes room before it reads.
    """
    entry = next((found for found in archive.infolist() if found.filename == f"{name}.npy"), None)
    if entry is None:
        return  # no array: what it is, numpy says
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = header(member)
        stored = entry.file_size - member.tell()
    claimed = math.prod(shape) * kind.itemsize
    if kind.hasobject:
        return  # its size is not that of numbers, and it is refused anyway
    if claimed > stored:
        raise ValueError(f"its header tells of more than the {stored:,} bytes that are there")
    if claimed > MOST_BYTES:
        raise UserError(
            f"{path} holds an array of {claimed / 2**30:.0f} GiB, more than {MOST_BYTES >> 30} GiB:"
            " take fewer examples"
        )


def _name(names: list[str], path: Path) -> str:
    known = [name for name in names if name in NAMES]
    if len(names) == 1 or len(known) == 1:
        return (known or names)[0]
    if not names:
        raise UserError(f"{path} holds no array: write one with numpy.savez(file, x=array)")
    raise UserError(
        f"{path} holds several arrays ({', '.join(names[:5])}): keep one, or name the data x"
    )


def _typed(array: np.ndarray, path: object) -> np.ndarray:
    """Points as float32, pictures as uint8 with a channel axis."""
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise UserError(
            f"{path} holds values of type {array.dtype}: save real numbers, integers or floats"
        )
    if array.ndim == 2 and array.shape[1]:
        return _finite(array, path)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return _bytes(array, path)
    raise UserError(
        f"{path} holds an array of shape {array.shape}: points are (n, d), pictures (n, h, w) or"
        " (n, h, w, c) with c = 1 or 3 channels last"
    )


def _finite(array: np.ndarray, path: object) -> np.ndarray:
    """The array as float32."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = int((~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))).sum())
    if bad:
        raise UserError(
            f"{bad} of the {len(values)} examples in {path} hold NaN, infinity or a number beyond"
            " float32: remove or mend them"
        )
    return values


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
    values = _finite(array, path)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        raise UserError(
            f"{path} holds float pictures from {low:g} to {high:g}: scale them to [0, 1] or [-1,"
            " 1], or save bytes (0 to 255) as uint8"
        )
    unit = (values + 1) / 2 if low < -ROUNDING else values
    return np.rint(unit.clip(0, 1) * 255).astype(np.uint8)


# --- pictures -------------------------------------------------------------------------------------


def _folder(path: Path) -> np.ndarray:
    """(n, h, w, c) uint8, in the order of the paths; c is 1 if every picture has one channel."""
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not found:
        raise UserError(f"{path} holds no pictures: otgan reads {', '.join(sorted(SUFFIXES))}")
    first = _picture(found[0])
    if first.size * len(found) > MOST_BYTES:
        raise UserError(
            f"{path} holds {len(found)} pictures of {_size(first)} pixels, more than"
            f" {MOST_BYTES >> 30} GiB: scale them down or take fewer"
        )
    pictures = [first]
    for file in found[1:]:
        pictures.append(_picture(file))
        if pictures[-1].shape[:2] != first.shape[:2]:
            raise UserError(
                f"pictures must all have one size, but {found[0]} has {_size(first)} pixels and"
                f" {file} {_size(pictures[-1])}: scale them"
            )
    channels = max(picture.shape[2] for picture in pictures)
    return np.stack(
        [np.broadcast_to(picture, (*first.shape[:2], channels)) for picture in pictures]
    )


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _picture(file: Path) -> np.ndarray:
    """(h, w, 1 or 3) uint8, the right way up, transparency laid onto white."""
    try:
        with Image.open(file) as opened:
            picture = _opaque(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{file} cannot be decoded as a picture ({error}): remove or replace it"
        ) from error
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _opaque(picture: Image.Image) -> Image.Image:
    """In mode L or RGB."""
    if picture.mode.startswith("I"):  # 16 bits of gray, which Pillow's own conversion would clip
        return Image.fromarray(
            (np.asarray(picture).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
        )
    gray = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if gray else "RGB")
