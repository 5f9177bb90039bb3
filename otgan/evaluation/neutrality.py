"""Which networks a run's generator was trained on.

Their scores of it are marked, and by default another one judges it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from otgan import experiments
from otgan.config import Config, Cost
from otgan.config.data import PretrainedRun
from otgan.errors import UserError
from otgan.features import DIGITS_OF_HASH, Features, default_name
from otgan.runs import RunFolder
from otgan.weights.catalog import EMBEDDED, embedded
from otgan.weights.store import sha256

MARK = "the generator was trained on these features"


class TrainingNetwork(NamedTuple):
    """A network that a generator was trained on.

    Attributes:
        name: what `--features` calls it; of a file with weights that the package does not carry,
            its path.
        digest: the first digits of the weights' SHA-256; None where they are not known.
    """

    name: str
    digest: str | None = None


def training_networks(config: Config) -> tuple[TrainingNetwork, ...]:
    """The networks on whose features a run's generator was trained: by its own cost or, of a
    composite, by that of the run it begins with.

    A learned encoder is the run's own and is none of them; one that is taken over from a run is
    what it was there.
    """
    begun = _config(config.source.path) if isinstance(config.source, PretrainedRun) else None
    return tuple(dict.fromkeys([*_of_cost(config.cost), *(_of_cost(begun.cost) if begun else ())]))


def neutral_name(kind: str, shape: tuple[int, ...], networks: Iterable[TrainingNetwork]) -> str:
    """The features by which to judge, on data of a kind, what was trained on these networks."""
    return default_name(kind, shape, {network.name for network in networks})


def was_trained_on(features: Features, networks: Iterable[TrainingNetwork]) -> bool:
    """Whether features are those of one of these networks: by their weights where these are known,
    else by name.
    """
    return any(
        network.digest == features.digest if network.digest else network.name == features.name
        for network in networks
    )


def _of_cost(cost: Cost, within: frozenset[str] = frozenset()) -> tuple[TrainingNetwork, ...]:
    name = cost.network or cost.features
    if name in ("pixels", "learned"):
        return ()
    if Path(name).suffix == ".safetensors":
        return (_of_file(Path(name)),)
    if name in Cost.FEATURES or cost.layered:
        return (TrainingNetwork(name, _short(embedded(name).digest) if name in EMBEDDED else None),)
    pretrained = None if cost.features in within else _config(cost.features)
    if pretrained:
        return _of_cost(pretrained.cost, within | {cost.features})
    # its run is gone: rather too cautious
    return (TrainingNetwork(cost.encoder.kind),) if cost.encoder.kind in EMBEDDED else ()


def _of_file(path: Path) -> TrainingNetwork:
    try:
        digest = _short(sha256(path))
    except OSError:
        return TrainingNetwork(str(path))
    return TrainingNetwork(
        next((name for name in EMBEDDED if _short(embedded(name).digest) == digest), str(path)),
        digest,
    )


def _short(digest: str) -> str:
    return digest[:DIGITS_OF_HASH]


def _config(path: str) -> Config | None:
    folder = RunFolder(Path(path))
    try:
        return experiments.resolve(str(folder.config_path)) if folder.exists else None
    except UserError:
        return None
