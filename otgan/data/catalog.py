"""What data there are, where they lie, and whether they are what they should be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otgan import config, places
from otgan.data import digits, prepared
from otgan.data.prepare import prepare
from otgan.errors import UserError

__all__ = ["Entry", "Verification", "listing", "prepare", "verify"]


@dataclass(frozen=True)
class Entry:
    """A line of the list of data.

    Attributes:
        name: what `--data` and the config call it.
        what: one phrase.
        examples: how many, to learn from and held out.
        shape: of one example.
        place: where it comes from or was looked for.
        present: whether it can be used now.
        version: of the prepared copy that would be read, if any.
    """

    name: str
    what: str
    examples: str
    shape: str
    place: str
    present: bool
    version: str | None = None


@dataclass(frozen=True)
class Verification:
    """What a look at a prepared data set found.

    Attributes:
        folder: the version folder that was read.
        facts: sentences about what is there.
        problems: sentences about what is wrong; empty if all is well.
    """

    folder: Path
    facts: list[str]
    problems: list[str]


@dataclass(frozen=True)
class Original:
    """What is known of a data set as published: the shape of an example, and the count of every
    class in each split.
    """

    shape: tuple[int, int, int]
    train: tuple[int, ...]
    test: tuple[int, ...]


ORIGINALS = {
    "mnist": Original(
        (28, 28, 1),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "cifar10": Original((32, 32, 3), (5000,) * 10, (1000,) * 10),
}

CONTENT = {"mnist": "9e224f8b3d13bebca8cd41a25b077fcce1e109558d4538574daeec0ac0ddd4aa"}
"""`content` of the original: SHA-256 over labels and pictures of both splits, whatever their order.
"""


def listing(data_dir: Path | None = None) -> list[Entry]:
    """Every kind of data that a config can name, in the order of how soon it can be used.

    Args:
        data_dir: the TFDS folder; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
    """
    grid, stacked = config.Grid(), config.Stacked()
    held_out = min(stacked.size // 5, digits.MOST_HELD_OUT)
    mnist = places.find("mnist", data_dir)
    return [
        Entry(
            "grid",
            "equal Gaussians on a square grid in the plane",
            f"{grid.size:,} + 80 per mode",
            "2",
            "made on the spot",
            True,
        ),
        Entry(
            "sample",
            "digits of MNIST, 500 of every class",
            "4,500 + 500",
            "28 x 28 x 1",
            "inside the package",
            True,
        ),
        _published("mnist", "handwritten digits", data_dir),
        _published("cifar10", "photographs of ten classes", data_dir),
        Entry(
            "stacked-mnist",
            "three digits as the colors of one picture, 1,000 modes",
            f"{stacked.size:,} + {held_out:,}",
            "32 x 32 x 3",
            (
                "made from mnist"
                if mnist
                else "made from mnist, which is missing, or with `--data sample` from the sample"
            ),
            mnist is not None,
            mnist.name if mnist else None,
        ),
        Entry(
            "own",
            "your points or pictures",
            "what you give",
            "(n, d) or (n, h, w, c)",
            "an .npz, .npy, .csv, .tsv or .parquet file, or a folder of pictures",
            True,
        ),
    ]


def _published(name: str, what: str, data_dir: Path | None) -> Entry:
    known, found = ORIGINALS[name], places.find(name, data_dir)
    return Entry(
        name,
        f"{places.TITLES[name]}, {what}",
        f"{sum(known.train):,} + {sum(known.test):,}",
        " x ".join(map(str, known.shape)),
        str(found or places.folder(data_dir)),
        found is not None,
        found.name if found else None,
    )


def verify(name: str, data_dir: Path | None = None) -> Verification:
    """Read a prepared data set afresh, past the cache, and compare it with what was published.

    Args:
        name: `mnist` or `cifar10`.
        data_dir: the TFDS folder; by default `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Raises:
        UserError: it is not prepared, or `name` is neither.
    """
    path, known = places.require(name, data_dir), ORIGINALS[name]
    try:
        read = prepared.decode(path)
    except UserError as error:
        return Verification(path, [], [str(error)])
    parts = (
        ("train", read.train, read.train_labels, known.train),
        ("test", read.test, read.test_labels, known.test),
    )
    problems = [
        problem
        for split, images, labels, classes in parts
        for problem in _problems(split, np.asarray(images), labels, known.shape, classes)
    ]
    facts = [
        f"{split}: {len(images):,} pictures of {' x '.join(map(str, images.shape[1:]))}"
        for split, images, _, _ in parts
    ]
    return Verification(path, [*facts, _identity(name, path, read)], problems)


def _problems(
    split: str,
    images: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, ...],
    classes: tuple[int, ...],
) -> list[str]:
    problems = []
    if len(images) != sum(classes):
        problems.append(f"{split} holds {len(images):,} pictures, the original {sum(classes):,}")
    if images.shape[1:] != shape:
        problems.append(f"{split} holds pictures of shape {images.shape[1:]}, the original {shape}")
    counts = tuple(np.bincount(labels, minlength=len(classes)).tolist())
    if counts != classes:
        problems.append(f"{split} holds {counts} examples of the classes, the original {classes}")
    if same := int((images == images[:, :1, :1]).all(axis=(1, 2, 3)).sum()):
        problems.append(f"{split} holds {same} pictures of a single color")
    return problems


def _identity(name: str, path: Path, read: prepared.Prepared) -> str:
    """What is known of how the copy relates to the original."""
    short = f"content {content(read)[:12]}"
    if name in CONTENT and content(read) == CONTENT[name]:
        return f"{short}: bit for bit the original"
    if name in CONTENT or _lossy(path):
        return (
            f"{short}: not bit for bit the original, so scores compare only with scores from the"
            " same copy"
        )
    return f"{short}: otgan knows no reference to compare it with"


def _lossy(path: Path) -> bool:
    """Whether the pictures are stored as JPEG, which TFDS's builders of these sets never do."""
    features = json.loads((path / "features.json").read_text())
    return features["featuresDict"]["features"]["image"]["image"].get("encodingFormat") == "jpeg"


def content(read: prepared.Prepared) -> str:
    """SHA-256 over labels and pictures of both splits that does not depend on the order of the
    examples.
    """
    digest = hashlib.sha256()
    for images, labels in ((read.train, read.train_labels), (read.test, read.test_labels)):
        numbers = np.asarray(images).reshape(len(images), -1)
        rows = np.concatenate([labels[:, None], numbers], axis=1)
        digest.update(np.sort(rows.view(f"V{rows.shape[1]}"), axis=0).tobytes())
    return digest.hexdigest()
