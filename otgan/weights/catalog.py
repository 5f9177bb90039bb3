"""Which weights there are: those that the package carries, and the Inception's in the cache."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from otgan import cache
from otgan.config import Cost
from otgan.errors import UserError
from otgan.weights import inception
from otgan.weights.store import Weights, read

EMBEDDED = Cost.TRAINED
"""Made by `scripts/train_features.py`."""


def embedded(name: str) -> Weights:
    """The weights of a network that the package carries."""
    with as_file(files("otgan.weights") / f"{name}.safetensors") as path:
        return read(path)


def inception_folder() -> Path:
    """Where the Inception's weights are kept once they have been fetched or imported."""
    return cache.folder() / "weights"


def listing() -> list[tuple[str, str, str, str, str]]:
    """Name, whether there, hash, test accuracy, and where, of every feature network that has weights."""
    rows = []
    for name in EMBEDDED:
        carried = embedded(name)
        rows.append((name, "yes", carried.digest[:12], carried.facts["test_accuracy"], "in the package"))
    path = inception.cached(inception_folder())
    try:
        there, digest = "yes", read(path).digest[:12]
    except UserError:
        there, digest = "damaged" if path.is_file() else "no", ""
    return [*rows, ("inception", there, digest, "", str(path))]


def import_inception(file: Path, output: Path | None) -> tuple[Path, str]:
    """Convert the published file. Returns where the weights are now, and their hash.

    Raises:
        UserError: the file is not what it should be, or nothing can be written there.
    """
    place = output or inception.cached(inception_folder())
    return place, inception.import_file(file, place).digest
