"""Which weights there are: those that the package carries, and published ones in the cache."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from otgan import cache
from otgan.config import Cost
from otgan.errors import UserError
from otgan.weights import dinov2, inception, published, resnet50
from otgan.weights.download import ShowDownload
from otgan.weights.published import SOURCE, Published
from otgan.weights.store import Weights, read

EMBEDDED = Cost.TRAINED
"""Made by `scripts/train_features.py`."""

IMAGENET: dict[str, Published] = {**dinov2.PUBLISHED, resnet50.NETWORK: resnet50.PUBLISHED}
"""Published networks that look at pictures as ImageNet's, by name."""

PUBLISHED: dict[str, Published] = {inception.PUBLISHED.network: inception.PUBLISHED, **IMAGENET}


def embedded(name: str) -> Weights:
    """The weights of a network that the package carries."""
    with as_file(files("otgan.weights") / f"{name}.safetensors") as path:
        return read(path)


def folder() -> Path:
    """Where published weights are kept once they have been fetched or imported."""
    return cache.folder() / "weights"


def find(network: str, show: ShowDownload | None = None) -> Weights:
    """The weights of one of `PUBLISHED`, downloaded if they are not there yet.

    Raises:
        UserError: they are not there and cannot be had.
    """
    return published.find(PUBLISHED[network], folder(), show=show)


def scored_name(read: Weights) -> str:
    """What scores by one of `IMAGENET`'s networks are called by: its name, and if its weights are
    not the published ones their hash.
    """
    network, source = read.facts["network"], read.facts.get(SOURCE, read.digest)
    return network if source == IMAGENET[network].digest else f"{network}-{source[:8]}"


def identity(read: Weights) -> str:
    """The first digits of the weights' hash, and those of the file that they were imported from."""
    source = read.facts.get(SOURCE)
    return read.digest[:12] + (f", from {source[:12]}" if source else "")


def listing() -> list[tuple[str, str, str, str, str]]:
    """Name, whether there, hash, test accuracy, and where, of every feature network that has
    weights.
    """
    rows = []
    for name in EMBEDDED:
        carried = embedded(name)
        rows.append(
            (name, "yes", carried.digest[:12], carried.facts["test_accuracy"], "in the package")
        )
    return rows + [_published_row(entry) for entry in PUBLISHED.values()]


def _published_row(entry: Published) -> tuple[str, str, str, str, str]:
    path = folder() / entry.kept
    try:
        return entry.network, "yes", read(path).digest[:12], "", str(path)
    except UserError:
        return entry.network, "damaged" if path.is_file() else "no", "", "", str(path)


def import_network(file: Path, network: str, output: Path | None) -> tuple[Path, Weights]:
    """Convert a file of a network's weights: of the Inception the published one, of another any
    whose arrays fit.

    Returns:
        Where the weights are now, and what they are.

    Raises:
        UserError: the file is not what it should be, or nothing can be written there.
    """
    entry = PUBLISHED[network]
    place = output or folder() / entry.kept
    digest = entry.digest if network == inception.PUBLISHED.network else None
    return place, published.import_file(entry, file, place, digest=digest)
