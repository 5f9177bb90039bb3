"""Where what was computed or fetched once is kept, for every run: arrays by name, written whole or
not at all, and what JAX has compiled.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from otgan.files import opened_whole

if TYPE_CHECKING:
    import numpy as np

PROGRAMS = "JAX_COMPILATION_CACHE_DIR"  # of the environment: where JAX keeps what it compiles


def folder() -> Path:
    """`OTGAN_CACHE`, else `~/.cache/otgan`; it may not be there yet."""
    return Path(os.environ.get("OTGAN_CACHE") or "~/.cache/otgan").expanduser()


def keep_programs() -> None:
    """Let JAX keep what it compiles in the folder, also for processes that this one begins; where
    the environment names another, there. What cannot be read is compiled again, what cannot be
    written is not kept, and nothing is said of it.

    To be called before JAX is imported.
    """
    if PROGRAMS not in os.environ:
        os.environ[PROGRAMS] = str(folder().absolute() / "programs")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    warnings.filterwarnings("ignore", r"Error \w+ persistent compilation cache", UserWarning)


def read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is not there or cannot be used, whatever the reason: a cache
    is never the truth.
    """
    import numpy as np  # here, because commands that compute nothing do without

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
    import numpy as np

    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened_whole(path) as file:
            # without allow_pickle, which numpy 2.0 takes for the name of an array
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
