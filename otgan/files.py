"""Files that several processes share: one lock, one way to write a file whole, one to append a
line, and readers of what is sound. No JAX.

A process may be killed while it writes, a disk may be full, and a hand may have changed a record: a
writer leaves the old file or the new one, and a reader takes what is sound and names the rest.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from otgan.plain import from_json

Plain = dict[str, Any]

LOCK = ".lock"  # the file by which a folder is locked
UNFINISHED = ".new"  # ends the name of a file that is being written
# the latter by 0.1.0
LEFT_BEHIND = re.compile(
    rf".+\.[0-9a-f]{{8}}{re.escape(UNFINISHED)}|(config|sweep)\.json{re.escape(UNFINISHED)}"
)
NO_INODES = ", no inode for another file"  # of a disk that is full of files, not of bytes
BLOCK = 512  # bytes, by which a file's room is counted


# --- locks ----------------------------------------------------------------------------------------


@contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Keep out others that lock the same file, on this host and on those that share its folder.

    A process that ends, however it does, gives its locks up: it is the system that holds them, and
    nothing is told by process numbers or names of hosts.

    Args:
        path: a file, which is made if it is not there, and stays. A folder would not do: over NFS
            its lock is known to one host alone.
        wait: whether to wait for one who holds it.

    Raises:
        BlockingIOError: it is held, and this does not wait.
        OSError: it cannot be opened.
    """
    handle = _opened(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """A file to lock. Over NFS who locks one must be able to write it; elsewhere it is enough to
    read one that another user made, in a folder that both may write.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not (path.is_file() and os.access(path.parent, os.W_OK)):
            raise
        return os.open(path, os.O_RDONLY)


def is_locked(path: Path) -> bool:
    """Whether a process holds a path's lock. Nothing is made."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def opened_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of the old one when it is complete and on the disk.

    Else the old one stays as it is.

    Raises:
        OSError: it cannot be written.
    """
    # others may be writing the same
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk even half a file is in the way
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: readers see the old content or the new one.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    with opened_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def free_bytes(place: Path) -> int:
    """That are free where something would be written, whose folder may not be there yet."""
    place = place.absolute()
    return shutil.disk_usage(next(each for each in (place, *place.parents) if each.is_dir())).free


def refusal(error: OSError, place: Path) -> str:
    """What the system said when it refused to write at a place.

    It says of a disk without inodes that it has no space, which who looks at its free bytes does
    not believe.
    """
    said = error.strerror or str(error)
    if error.errno != errno.ENOSPC or said.endswith(NO_INODES):
        return said
    there = next((each for each in (place, *place.absolute().parents) if each.is_dir()), None)
    disk = os.statvfs(there) if there else None
    return (
        f"{said}{NO_INODES}"
        if disk and disk.f_bavail and disk.f_files > disk.f_ffree == 0
        else said
    )


def is_unfinished(path: Path) -> bool:
    """Whether a file is what a process left that was killed while it wrote."""
    return LEFT_BEHIND.fullmatch(path.name) is not None


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, behind the whole lines that it has: half a line, of a process that was
    killed, gets an end of its own.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + line.encode() + b"\n")


def overwrite(path: Path, text: str) -> bool:
    """Put a text of ASCII in a file's own place, where there is no room for another file.

    Returns whether it fitted.

    It is padded to the length of the old one and written at once, so whoever reads meanwhile does
    not see the end of the old.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            there = os.fstat(file.fileno())
            padded = text.encode().ljust(there.st_size)
            return len(padded) <= there.st_blocks * BLOCK and file.write(padded) == len(padded)
    except OSError:
        return False


# --- reading --------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """A finite number as float, and None for whatever else a file may hold."""
    try:
        return float(value) if isinstance(value, (float, int)) and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def table(value: Any) -> Plain:
    """A table, and an empty one for whatever else a file may hold."""
    return value if isinstance(value, dict) else {}


def read_table(path: Path, problems: list[str]) -> Plain:
    """A file that holds one JSON table.

    Empty, and a sentence more in `problems`, where it does not.
    """
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is not there")
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} could not be read ({str(error).splitlines()[0][:120]})")
    else:
        if isinstance(found, dict):
            return found
        problems.append(f"{path.name} holds no table")
    return {}


def read_lines(path: Path, sound: Callable[[Plain], bool], problems: list[str]) -> list[Plain]:
    """A file with a JSON table a line; none where it is not there.

    Lines that are none, or not sound, are counted in `problems`.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        problems.append(f"{path.name} could not be read ({error.strerror})")
        return []
    found = [parsed for parsed in map(_parsed, lines) if parsed and sound(parsed)]
    if len(found) < len(lines):
        problems.append(
            f"{path.name}: {len(lines) - len(found):,} of {len(lines):,} lines could not be read"
        )
    return found


def dig(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key; None where there is none."""
    found: Any = tree
    for name in dotted.split("."):
        found = table(found).get(name)
    return found


def _parsed(line: bytes) -> Plain | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
