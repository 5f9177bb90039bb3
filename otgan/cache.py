"""Where what was computed or fetched once is kept, for every run: arrays by name, written whole or
not at all, and what JAX has compiled.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otgan.files import opened_whole

if TYPE_CHECKING:
    import numpy as np

PROGRAMS = "JAX_COMPILATION_CACHE_DIR"  # of the environment: where JAX keeps what it compiles
UNREAD = r"Error reading persistent compilation cache entry for '(.*?)'"


def folder() -> Path:
    """`OTGAN_CACHE`, else `~/.cache/otgan`; it may not be there yet."""
    return Path(os.environ.get("OTGAN_CACHE") or "~/.cache/otgan").expanduser()


def programs() -> Path:
    """Where JAX keeps what it compiles: `JAX_COMPILATION_CACHE_DIR`, else in the folder."""
    return Path(os.environ.get(PROGRAMS) or folder().absolute() / "programs")


def keep_programs() -> None:
    """Let JAX keep what it compiles, also for processes that this one begins. What cannot be
    written is not kept; what cannot be read, as where a kill cut it short, is removed, compiled
    again and kept again. Nothing is said of either. Where there is no home nothing is kept.

    To be called before JAX is imported.
    """
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if PROGRAMS not in os.environ:
        with suppress(RuntimeError):  # nobody's home
            os.environ[PROGRAMS] = str(programs())
    warnings.filterwarnings("ignore", r"Error writing persistent compilation cache", UserWarning)
    warnings.filterwarnings("always", UNREAD, UserWarning)
    earlier = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **rest: Any) -> None:
        if unread := re.match(UNREAD, str(message)):
            _remove_damaged(unread[1])
        else:
            earlier(message, category, *place, **rest)

    warnings.showwarning = show


def _remove_damaged(name: str) -> None:
    """Remove the kept programs of a name that are not whole: JAX overwrites none."""
    with suppress(OSError):
        for path in programs().glob(f"{glob.escape(name)}-*-cache"):
            if not _whole(path):
                path.unlink(missing_ok=True)


def _whole(program: Path) -> bool:
    """Of one that JAX packed by zlib; by anything else, none counts as whole."""
    try:
        zlib.decompress(program.read_bytes())
    except (OSError, zlib.error):
        return False
    return True


def read(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray] | None:
    """The arrays of a file, or those of some names; None if it is not there or cannot be used,
    whatever the reason: a cache is never the truth.
    """
    import numpy as np  # here, because commands that compute nothing do without

    try:
        # opened here: numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
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
