"""What a cost on groups of features sees of all training examples: once, kept in the cache.

A group is divided by the root of its mean squared distance between two training examples, which is
twice its variance, summed over its entries:

    E |phi(x) - phi(x')|^2  =  2 sum_d Var phi_d(x)

so that each group's squared distances have mean one whatever the network, and a lam means the same.
Windows of one group are all divided by one root, that of the mean over the windows, so that a
window in which little happens has small costs, and lam is large to it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan import cache
from otgan.config import Cost
from otgan.costs import Groups
from otgan.data import Dataset, Examples, OnDisk
from otgan.data.arrays import member
from otgan.data.large import write_header, writing
from otgan.errors import UserError
from otgan.features import FETCHED, Frozen, Tell, find_network
from otgan.files import free_bytes
from otgan.groups import ALL, Group, find_groups, make_network
from otgan.models import Network

CHUNK = 500  # examples at a time
ROOM = 0.5  # of the machine's memory or of the free disk, for what is seen of all examples


@dataclass(frozen=True, eq=False)
class Sight:
    """How a cost looks at examples through a frozen network.

    Attributes:
        network: (parameters, examples in [-1, 1]) -> groups, (n, d_k) or of windows (n, p_k, d_k).
        parameters: the network's, and the groups' `scales`.
        features: the groups of all N training examples in their order, on the disk where these are;
            None where they are computed anew in every step.
        record: what a run's folder says of it, as plain data.
    """

    network: Network
    parameters: Any
    features: tuple[Examples, ...] | None
    record: dict[str, Any]


def make_sight(cost: Cost, dataset: Dataset, show: Tell = lambda text: None) -> Sight | None:
    """Find the network of a cost's features and look at all training examples.

    None where the cost is not on a network's layers.

    What is seen is kept in the cache, under the hashes of the data and of the weights.

    Raises:
        UserError: there are no such network or layers, they do not fit the images, or memory does
            not suffice.
    """
    if not cost.layered:
        return None
    frozen, groups = _asked(cost, dataset, show)
    network, kept = (
        make_network(frozen, groups),
        None if cost.kept == "none" else np.dtype(cost.kept),
    )
    scales, features = _remembered(frozen, groups, network, dataset, kept, show)
    parameters = {"network": frozen.parameters, "scales": scales}
    record = {
        "network": frozen.name,
        "digest": frozen.digest,
        "groups": [*map(str, groups)],
        "scales": [float(scale) for scale in scales],
    }
    return Sight(network, parameters, features, record)


def require_groups(cost: Cost, dataset: Dataset) -> None:
    """See that the layers of a cost fit the data, by their shapes: nothing is looked at. Networks
    whose weights may have to be fetched are left out.

    Raises:
        UserError: there are no such network or layers, or they do not fit the images.
    """
    if cost.layered and cost.network not in FETCHED:
        _asked(cost, dataset)


def _asked(
    cost: Cost, dataset: Dataset, show: Tell = lambda text: None
) -> tuple[Frozen, tuple[Group, ...]]:
    """The network of a cost, and its groups."""
    assert cost.network is not None
    if not dataset.is_images:
        raise UserError(
            f"cost.features = {cost.features!r} needs images; the data are points: use 'pixels',"
            " 'learned' or 'random'"
        )
    frozen = find_network(cost.network, dataset.shape, show=show)
    return frozen, find_groups(cost.layers, frozen, dataset.shape)


# --- all training examples ------------------------------------------------------------------------


def _remembered(
    frozen: Frozen,
    groups: tuple[Group, ...],
    network: Network,
    dataset: Dataset,
    kept: np.dtype | None,
    show: Tell,
) -> tuple[np.ndarray, tuple[Examples, ...] | None]:
    """The groups' scales, and what is seen of all training examples: from the cache, or computed
    and put there.
    """
    words = "+".join(map(str, groups))
    key = repr(
        (
            dataset.fingerprint,
            frozen.name,
            frozen.digest,
            frozen.preparation,
            frozen.version,
            words,
            str(kept),
        )
    )
    path = (
        cache.folder()
        / "seen"
        / f"{dataset.name}-{frozen.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    )
    names = [] if kept is None else [f"group_{k}" for k in range(len(groups))]
    on_disk = dataset.on_disk and kept is not None
    places = [path.with_name(f"{path.stem}-{name}.npy") for name in names]
    if cached := _cached(path, names, places if on_disk else None, len(dataset.train)):
        return cached
    width = _width(network, frozen, len(groups), dataset.shape)
    _require_room(len(dataset.train) * width * (kept.itemsize if kept else 0), width, kept, on_disk)
    look = jax.jit(
        lambda x: network.apply(
            {"network": frozen.parameters, "scales": np.ones(len(groups), np.float32)}, x
        )
    )
    show(f"looking at {len(dataset.train):,} training examples through {frozen.name}:{words}")
    scales = _scales(look, dataset.train)
    if kept and on_disk:
        _write(look, dataset.train, scales, kept, places)
        cache.write(path, {"scales": scales})
        return scales, _read(places, len(dataset.train))
    features = None if kept is None else _see(look, dataset.train, scales, kept)
    cache.write(path, {"scales": scales, **dict(zip(names, features or (), strict=True))})
    return scales, features


def _cached(
    path: Path, names: list[str], places: list[Path] | None, count: int
) -> tuple[np.ndarray, tuple[Examples, ...] | None] | None:
    """Scales and groups from the cache: these by their names, or from files of their own."""
    wanted = ["scales"] if places else ["scales", *names]
    cached = cache.read(path, wanted)
    if cached is None:
        return None
    if not places:
        return cached["scales"], tuple(cached[name] for name in names) or None
    groups = _read(places, count)
    return None if groups is None else (cached["scales"], groups)


def _read(places: list[Path], count: int) -> tuple[OnDisk, ...] | None:
    """The groups of so many examples, if all of them are there."""
    stored = [member(place) for place in places]
    found = tuple(OnDisk.as_stored(one) for one in stored if one and one.shape[0] == count)
    return found if len(found) == len(places) else None


def _width(network: Network, frozen: Frozen, count: int, shape: tuple[int, ...]) -> int:
    parameters = {"network": frozen.parameters, "scales": np.ones(count, np.float32)}
    return sum(
        math.prod(group.shape[1:])
        for group in jax.eval_shape(
            network.apply, parameters, jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        )
    )


def _require_room(wanted: int, width: int, kept: np.dtype | None, on_disk: bool) -> None:
    """Refuse what does not fit in half of the memory, or of what is free on the cache's disk."""
    place = cache.folder().absolute()
    there, what = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine's"
    if on_disk:
        there, what = free_bytes(place), f"what is free for {place},"
    if wanted > ROOM * there:
        less = "float16, none, " if kept == np.float32 else "none, "
        raise UserError(
            f"what the cost sees of all training examples, {width:,} numbers each, takes"
            f" {wanted / 2**30:.1f} GiB, more than half of {what} {there / 2**30:.1f}:"
            f" --set cost.kept={less}or fewer layers, or means over places such as {ALL}@2"
        )


def _chunks(examples: Examples) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, len(examples), CHUNK)]


def _look(look: Callable[[Array], Groups], examples: np.ndarray) -> list[np.ndarray]:
    """Of a chunk filled up to a full one, so that one program serves all."""
    full = np.concatenate([examples, np.repeat(examples[:1], CHUNK - len(examples), axis=0)])
    return [
        np.asarray(group)[: len(examples)]
        for group in look(jnp.asarray(full, jnp.float32) / 127.5 - 1)
    ]


def _scales(look: Callable[[Array], Groups], examples: Examples) -> Float[np.ndarray, " k"]:
    """The root of each group's mean squared distance, over its windows.

    A group that is the same for all examples is refused.
    """
    sums: list[np.ndarray] = []
    for part in _chunks(examples):
        moments = [
            np.stack([group.sum(0, np.float64), np.square(group, dtype=np.float64).sum(0)])
            for group in _look(look, examples[part])
        ]
        sums = [total + new for total, new in zip(sums, moments, strict=True)] if sums else moments
    n = len(examples)
    squared = np.asarray(
        [2 * np.sum(square / n - (mean / n) ** 2, axis=-1).mean() for mean, square in sums]
    )
    if not (squared > 0).all():
        raise UserError(
            "a group of features is the same for all training examples, so nothing can be compared"
            " by it"
        )
    return np.sqrt(squared).astype(np.float32)


def _write(
    look: Callable[[Array], Groups],
    examples: Examples,
    scales: np.ndarray,
    kept: np.dtype,
    places: list[Path],
) -> None:
    """Write down what `_see` returns, a file for each group."""
    with ExitStack() as stack:
        files = [stack.enter_context(writing(place)) for place in places]
        for part in _chunks(examples):
            found = _look(look, examples[part])
            for file, group, scale in zip(files, found, scales, strict=True):
                if part.start == 0:
                    write_header(file, (len(examples), *group.shape[1:]), kept)
                file.write(np.ascontiguousarray((group / scale).astype(kept)).data)


def _see(
    look: Callable[[Array], Groups], examples: Examples, scales: np.ndarray, kept: np.dtype
) -> tuple[np.ndarray, ...]:
    groups: list[np.ndarray] = []
    for part in _chunks(examples):
        found = _look(look, examples[part])
        groups = groups or [np.empty((len(examples), *group.shape[1:]), kept) for group in found]
        for whole, group, scale in zip(groups, found, scales, strict=True):
            whole[part] = group / scale
    return tuple(groups)
