"""Where what was computed or fetched once is kept, for every run: arrays by name, written whole or
not at all.
"""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from otgan.files import opened_whole


def folder() -> Path:
    """`OTGAN_CACHE`, else `~/.cache/otgan`; it may not be there yet."""
    return Path(os.environ.get("OTGAN_CACHE") or "~/.cache/otgan").expanduser()


def read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is not there or cannot be used, whatever the reason: a cache
    is never the truth.
    """
    try:
        # opened here: numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        OSError,
        KeyError,
        ValueError,
        EOFError,
        MemoryError,
        OverflowError,
        zipfile.BadZipFile,
    ):
        return None


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays, uncompressed; another process may be reading.

    Where nothing can be written nothing is.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened_whole(path) as file:
            # without allow_pickle, which numpy 2.0 takes for the name of an array
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
