"""The user's pictures: a folder of files, whose subfolders may be labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from otgan.config import UserData
from otgan.data import decoding
from otgan.data.examples import UserExamples, coded, listed, most_labels
from otgan.data.ondisk import Examples
from otgan.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def read(path: Path, wanted: UserData) -> UserExamples:
    """Read a folder's pictures, searched recursively, in the order of their paths.

    Where all of them lie in subfolders, two at least, these are their labels.

    Raises:
        UserError: there are none, or some cannot be used; all that is wrong in one message.
    """
    files, skipped = find(path)
    if not files:
        others = f", and it holds {skipped}" if skipped else ""
        raise UserError(
            f"{path} holds no pictures: otgan reads {', '.join(sorted(SUFFIXES))}{others}"
        )
    values, notes = decoding.decoded(
        ((str(file), file) for file in files), len(files), path, wanted
    )
    return told(values, path, files, notes, skipped)


def told(
    values: Examples, path: Path, files: list[Path], notes: Iterable[str], skipped: str
) -> UserExamples:
    """A folder's pictures with their labels, and sentences on what they are and what was left
    out.
    """
    labels = _subfolders(files, path)
    what = f"{path.name}: {decoding.described(values)}"
    if labels is not None:
        what += f", in {labels.max() + 1} subfolders, which are their labels"
    left = [f"skipped: {skipped}"] if skipped else []
    return UserExamples(values, (), labels, (what, *notes, *left))


def sizes(path: Path) -> set[decoding.Size]:
    """Of the pictures in a folder as they lie there.

    Raises:
        UserError: a folder in it cannot be read.
    """
    return decoding.sizes(find(path)[0])


def find(path: Path) -> tuple[list[Path], str]:
    """The pictures in a folder, sorted, and in words what else there is.

    Raises:
        UserError: a folder in it cannot be read.
    """
    files, others = [], Counter()
    for file in sorted(_walk(path)):
        if file.name.startswith("."):
            others["hidden"] += 1
        elif file.suffix.lower() in SUFFIXES:
            files.append(file)
        else:
            others[file.suffix.lower() or "suffixless"] += 1
    counts = (f"{n:,} {kind} file{'s' if n > 1 else ''}" for kind, n in others.most_common())
    return files, listed(counts)


def _walk(path: Path) -> Iterator[Path]:
    """All files below a folder; one that cannot be read is refused, not passed over."""
    try:
        for folder, _, names in os.walk(path, onerror=_raise):
            yield from (file for file in map(Path(folder).joinpath, names) if file.is_file())
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}): give yourself the right to read"
            " it, or move it out of the folder"
        ) from error


def _raise(error: OSError) -> None:
    raise error


def _subfolders(files: list[Path], path: Path) -> np.ndarray | None:
    """The subfolder of each file as its label."""
    first = [file.relative_to(path).parts[:-1][:1] for file in files]
    if not all(first) or not 2 <= len(set(first)) <= most_labels(len(files)):
        return None
    return coded(np.array([name for (name,) in first]), "the subfolder", path)
