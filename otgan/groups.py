"""Groups of features for a cost: layers of a frozen network, each on its own scale.

And what it sees of all training examples, once.

A group is a layer's activations, flattened, perhaps averaged over a few places of its map first, or
the examples themselves (`pixels`). It is divided by the root of its mean squared distance between
two training examples, which is twice its variance, summed over its entries:

    E |phi(x) - phi(x')|^2  =  2 sum_d Var phi_d(x)

so that each group's squared distances have mean one whatever the network, and a lam means the same.

A group may be cut into p x p windows of its map, each a transport problem of its own: few
coordinates, which a batch tells apart where it could not tell whole pictures apart. All are divided
by one root, that of the mean over the windows, so that a window in which little happens has small
costs, and lam is large to it.

A window less its mean holds what stands out in it, whatever its color or brightness. Where real
windows are flat it is zero, so that noise costs as much as it is strong, and is not lost in the
difference between two colors.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan import cache
from otgan.config import Cost
from otgan.costs import Groups
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.features import FETCHED, Frozen, Tell, find_network
from otgan.models import Network

ALL, PIXELS, LESS_MEAN = "all", "pixels", "-mean"
CHUNK = 500  # examples at a time
SHOWN = 4  # pixels at least, of the windows that messages name
ROOM = 0.5  # of the machine's memory, for what is seen of all examples


@dataclass(frozen=True)
class Group:
    """A layer of a network, or the pixels.

    Averaged over `places` x `places` of its map, or cut into `windows` x `windows`, each perhaps
    `less_mean`: without its mean over its places.
    """

    layer: str
    places: int | None = None
    windows: int | None = None
    less_mean: bool = False

    def __str__(self) -> str:
        return (
            self.layer
            + (f"@{self.places}" if self.places else "")
            + (f"/{self.windows}" if self.windows else "")
            + (LESS_MEAN if self.less_mean else "")
        )


@dataclass(frozen=True, eq=False)
class Sight:
    """How a cost looks at examples through a frozen network.

    Attributes:
        network: (parameters, examples in [-1, 1]) -> groups, (n, d_k) or of windows (n, p_k, d_k).
        parameters: the network's, and the groups' `scales`.
        features: the groups of all N training examples in their order; None where they are computed
            anew in every step.
        record: what a run's folder says of it, as plain data.
    """

    network: Network
    parameters: Any
    features: tuple[np.ndarray, ...] | None
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


def find_groups(
    asked: tuple[str, ...], frozen: Frozen, shape: tuple[int, ...]
) -> tuple[Group, ...]:
    """The groups that are written as `first`, `second@2`, `first/7`, `pixels` or `all`, which
    stands for all layers of the network.

    Raises:
        UserError: a layer does not exist, has no such places or windows, or is named twice.
    """
    maps = jax.eval_shape(
        frozen.maps, frozen.parameters, jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    )
    shapes = {PIXELS: shape, **{layer: maps[layer].shape[1:] for layer in frozen.layers}}
    words = [
        word
        for name in asked
        for word in (_all_layers(name, frozen) if _written(name)[0] == ALL else [name])
    ]
    groups = tuple(_group(word, shapes, frozen) for word in words)
    if twice := {str(group) for group in groups if groups.count(group) > 1}:
        raise UserError(f"cost.features names {' and '.join(sorted(twice))} twice")
    return groups


def _written(word: str) -> tuple[str, str, str]:
    """A layer; `@` of places or `/` of windows, if there is one; how many to a side."""
    layer, sign, number = re.fullmatch(r"([^@/]*)([@/]?)(.*)", word, re.DOTALL).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return layer, sign, number


def _all_layers(name: str, frozen: Frozen) -> list[str]:
    return [f"{layer}{name.removeprefix(ALL)}" for layer in frozen.layers]


def _group(word: str, shapes: dict[str, tuple[int, ...]], frozen: Frozen) -> Group:
    layer, sign, _ = _written(word)
    if (bare := layer.removesuffix(LESS_MEAN)) != layer and len(shapes.get(bare, ())) > 1:
        raise UserError(f"cost.features: {word!r}: {_of_a_window(bare, shapes[bare][:2])}")
    if layer not in shapes:
        raise UserError(
            f"{frozen.name} has no layer {layer!r}: choose of {', '.join(frozen.layers)} (all of"
            f" them: all) and {PIXELS}"
        )
    if not sign or len(shapes[layer]) == 1:  # "all@2" is of the layers that have places
        return Group(layer)
    side = shapes[layer][:2]
    return _of_places(word, side) if sign == "@" else _of_windows(word, side)


def _of_places(word: str, side: tuple[int, ...]) -> Group:
    layer, _, number = _written(word)
    if number.endswith(LESS_MEAN):
        raise UserError(
            f"cost.features: {word!r} asks for places less their mean: {_of_a_window(layer, side)}"
        )
    if not 1 <= (count := _whole(number)) <= min(side):
        raise UserError(
            f"cost.features: {word!r} asks for places of a map of {side[0]} x {side[1]}: give"
            f" {layer}@1 to {layer}@{min(side)}"
        )
    return Group(layer, count)


def _of_windows(word: str, side: tuple[int, ...]) -> Group:
    layer, _, number = _written(word)
    less_mean, number = number.endswith(LESS_MEAN), number.removesuffix(LESS_MEAN)
    first, dash, ending = number.partition("-")
    if dash and _whole(first) in _cuts(side):
        raise UserError(
            f"cost.features: {word!r} ends in {dash}{ending}, which is nothing: give"
            f" {layer}/{first} or {layer}/{first}{LESS_MEAN}"
        )
    if (count := _whole(number)) not in _cuts(side):
        raise UserError(
            f"cost.features: {word!r} cuts a map of {side[0]} x {side[1]} into equal windows: give"
            f" {layer}/ and one of {', '.join(map(str, _cuts(side)))}"
        )
    return Group(layer, windows=count, less_mean=less_mean)


def _of_a_window(layer: str, side: tuple[int, ...]) -> str:
    """The rest of a sentence that refuses `-mean` elsewhere."""
    count = max(c for c in _cuts(side) if c == 1 or min(side) >= c * SHOWN)
    return f"{LESS_MEAN} belongs to windows, as in {layer}/{count}{LESS_MEAN}"


def _cuts(side: tuple[int, ...]) -> list[int]:
    """Into how many windows to a side a map can be cut."""
    return [c for c in range(1, min(side) + 1) if not any(pixels % c for pixels in side)]


def _whole(number: str) -> int:
    """A whole number as it is written; 0 where it is none."""
    return int(number) if number.isdecimal() else 0


def make_network(frozen: Frozen, groups: tuple[Group, ...]) -> Network:
    """The function from parameters and examples in [-1, 1] to groups, each divided by its scale."""

    def apply(parameters: Any, x: Float[Array, "n h w c"]) -> Groups:
        maps = (
            {**frozen.maps(parameters["network"], (x + 1) * 127.5), PIXELS: x}
            if any(g.layer != PIXELS for g in groups)
            else {PIXELS: x}
        )
        return tuple(
            _flat(maps[group.layer], group) / scale
            for group, scale in zip(groups, parameters["scales"], strict=True)
        )

    return Network(init=lambda key: None, apply=apply)


def _flat(seen: Array, group: Group) -> Float[Array, "n d"] | Float[Array, "n p d"]:
    if group.places:
        rows, columns = (_means(side, group.places) for side in seen.shape[1:3])
        seen = jnp.einsum(
            "ph,qw,nhwc->npqc", rows, columns, seen, precision=jax.lax.Precision.HIGHEST
        )
    if group.windows:
        n, h, w, c = seen.shape
        cut = seen.reshape(
            n, group.windows, h // group.windows, group.windows, w // group.windows, c
        )
        if group.less_mean:
            cut = cut - cut.mean(axis=(2, 4), keepdims=True)
        return jnp.moveaxis(cut, 3, 2).reshape(n, group.windows**2, -1)
    return seen.reshape(len(seen), -1)


def _means(side: int, places: int) -> Float[np.ndarray, "places side"]:
    """The matrix that averages a side over so many stretches.

    Where they do not divide it, neighbors share a pixel.
    """
    ends = [(side * k // places, -(-side * (k + 1) // places)) for k in range(places)]
    return np.stack(
        [(np.arange(side) >= low) & (np.arange(side) < high) for low, high in ends]
    ).astype(np.float32) / np.asarray([[high - low] for low, high in ends], np.float32)


# --- all training examples ------------------------------------------------------------------------


def _remembered(
    frozen: Frozen,
    groups: tuple[Group, ...],
    network: Network,
    dataset: Dataset,
    kept: np.dtype | None,
    show: Tell,
) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
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
    if (cached := cache.read(path)) and set(cached) == {"scales", *names}:
        return cached["scales"], tuple(cached[name] for name in names) or None
    width = _width(network, frozen, len(groups), dataset.shape)
    _require_room(len(dataset.train) * width * (kept.itemsize if kept else 0), width, kept)
    look = jax.jit(
        lambda x: network.apply(
            {"network": frozen.parameters, "scales": np.ones(len(groups), np.float32)}, x
        )
    )
    show(f"looking at {len(dataset.train):,} training examples through {frozen.name}:{words}")
    scales = _scales(look, dataset.train)
    features = None if kept is None else _see(look, dataset.train, scales, kept)
    cache.write(path, {"scales": scales, **dict(zip(names, features or (), strict=True))})
    return scales, features


def _width(network: Network, frozen: Frozen, count: int, shape: tuple[int, ...]) -> int:
    parameters = {"network": frozen.parameters, "scales": np.ones(count, np.float32)}
    return sum(
        math.prod(group.shape[1:])
        for group in jax.eval_shape(
            network.apply, parameters, jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        )
    )


def _require_room(wanted: int, width: int, kept: np.dtype | None) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > ROOM * there:
        less = "float16, none, " if kept == np.float32 else "none, "
        raise UserError(
            f"what the cost sees of all training examples, {width:,} numbers each, takes"
            f" {wanted / 2**30:.1f} GiB, more than half of this machine's {there / 2**30:.1f}:"
            f" --set cost.kept={less}or fewer layers, or means over places such as {ALL}@2"
        )


def _chunks(examples: np.ndarray) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, len(examples), CHUNK)]


def _look(look: Callable[[Array], Groups], examples: np.ndarray) -> list[np.ndarray]:
    """Of a chunk filled up to a full one, so that one program serves all."""
    full = np.concatenate([examples, np.repeat(examples[:1], CHUNK - len(examples), axis=0)])
    return [
        np.asarray(group)[: len(examples)]
        for group in look(jnp.asarray(full, jnp.float32) / 127.5 - 1)
    ]


def _scales(look: Callable[[Array], Groups], examples: np.ndarray) -> Float[np.ndarray, " k"]:
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


def _see(
    look: Callable[[Array], Groups], examples: np.ndarray, scales: np.ndarray, kept: np.dtype
) -> tuple[np.ndarray, ...]:
    groups: list[np.ndarray] = []
    for part in _chunks(examples):
        found = _look(look, examples[part])
        groups = groups or [np.empty((len(examples), *group.shape[1:]), kept) for group in found]
        for whole, group, scale in zip(groups, found, scales, strict=True):
            whole[part] = group / scale
    return tuple(groups)
