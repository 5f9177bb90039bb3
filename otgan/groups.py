"""Groups of features for a cost: layers of a frozen network, each on its own scale.

A group is a layer's activations, flattened, perhaps averaged over a few places of its map first, or
the examples themselves (`pixels`). It may be cut into p x p windows of its map, each a transport
problem of its own: few coordinates, which a batch tells apart where it could not tell whole
pictures apart.

A window less its mean holds what stands out in it, whatever its color or brightness. Where real
windows are flat it is zero, so that noise costs as much as it is strong, and is not lost in the
difference between two colors.

Windows of every channel by itself are those of a picture's colors, or of the channels that a
network reads one by one, as of stacked digits. What these have to do with each other they do not
say, and a batch need not tell all that they make together.

Shifted windows lie half a window further to the right and down, one fewer to a side: where four
windows meet, one of these is whole, so that a seam costs as much as any other edge. They leave out
half a window at the border, where nothing meets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan.costs import Groups
from otgan.errors import UserError
from otgan.features import Frozen
from otgan.models import Network

ALL, PIXELS = "all", "pixels"
# of windows, in this order, as in pixels/8-mean-shifted
LESS_MEAN, SHIFTED, BY_CHANNEL = MARKS = "mean", "shifted", "channels"
SHOWN = 4  # pixels at least, of the windows that messages name


@dataclass(frozen=True)
class Group:
    """A layer of a network, or the pixels.

    Averaged over `places` x `places` of its map, or cut into `windows` x `windows`, each perhaps
    `less_mean`: without its mean over its places. If they are `shifted` by half a window, there is
    one fewer to a side. `by_channel` they are of every channel by itself.
    """

    layer: str
    places: int | None = None
    windows: int | None = None
    less_mean: bool = False
    shifted: bool = False
    by_channel: bool = False

    def __str__(self) -> str:
        return (
            self.layer
            + (f"@{self.places}" if self.places else "")
            + (f"/{self.windows}" if self.windows else "")
            + (f"-{LESS_MEAN}" if self.less_mean else "")
            + (f"-{SHIFTED}" if self.shifted else "")
            + (f"-{BY_CHANNEL}" if self.by_channel else "")
        )


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
    bare, dash, mark = layer.rpartition("-")
    if dash and mark in MARKS and len(shapes.get(bare, ())) > 1:
        raise UserError(f"cost.features: {word!r}: {_of_a_window(mark, bare, shapes[bare][:2])}")
    if layer not in shapes:
        raise UserError(
            f"{frozen.name} has no layer {layer!r}: choose of {', '.join(frozen.layers)} (all of"
            f" them: all) and {PIXELS}"
        )
    if not sign or len(shapes[layer]) == 1:  # "all@2" is of the layers that have places
        return Group(layer)
    side = shapes[layer][:2]
    if sign == "@":
        return _of_places(word, side)
    group = _of_windows(word, side)
    if group.by_channel and _channels(layer, frozen, shapes[layer]) == 1:
        raise UserError(
            f"cost.features: {word!r}: what is seen in {layer} is of all channels together: leave"
            f" out -{BY_CHANNEL}"
        )
    return group


def _channels(layer: str, frozen: Frozen, shape: tuple[int, ...]) -> int:
    """How many channels of pictures of a shape are seen by themselves in a layer."""
    return shape[-1] if layer == PIXELS else frozen.channels


def _of_places(word: str, side: tuple[int, ...]) -> Group:
    layer, _, number = _written(word)
    number, dash, mark = number.partition("-")
    if dash and mark in MARKS:
        raise UserError(f"cost.features: {word!r}: {_of_a_window(mark, layer, side)}")
    if dash or not 1 <= (count := _whole(number)) <= min(side):
        raise UserError(
            f"cost.features: {word!r} asks for places of a map of {side[0]} x {side[1]}: give"
            f" {layer}@1 to {layer}@{min(side)}"
        )
    return Group(layer, count)


def _of_windows(word: str, side: tuple[int, ...]) -> Group:
    layer, _, number = _written(word)
    number, dash, ending = number.partition("-")
    if (count := _whole(number)) not in _cuts(side):
        raise UserError(
            f"cost.features: {word!r} cuts a map of {side[0]} x {side[1]} into equal windows: give"
            f" {layer}/ and one of {', '.join(map(str, _cuts(side)))}"
        )
    group = Group(
        layer,
        windows=count,
        less_mean=LESS_MEAN in ending.split("-"),
        shifted=SHIFTED in ending.split("-"),
        by_channel=BY_CHANNEL in ending.split("-"),
    )
    if dash and str(group) != word:
        ends = ", ".join(f"-{mark}" for mark in MARKS)
        raise UserError(
            f"cost.features: {word!r} ends in -{ending}, which is nothing: give {layer}/{count}, or"
            f" that with one or more of {ends}, in this order"
        )
    if group.shifted and not 1 < count <= min(side) // 2:
        raise UserError(
            f"cost.features: {word!r} shifts windows by half of one: of a map of {side[0]} x"
            f" {side[1]} that takes 2 to {min(side) // 2} to a side"
        )
    return group


def _of_a_window(mark: str, layer: str, side: tuple[int, ...]) -> str:
    """The rest of a sentence that refuses a mark of windows elsewhere."""
    count = max(c for c in _cuts(side) if c == 1 or min(side) >= c * SHOWN)
    return f"-{mark} belongs to windows, as in {layer}/{count}-{mark}"


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
            _flat(maps[group.layer], group, _channels(group.layer, frozen, x.shape)) / scale
            for group, scale in zip(groups, parameters["scales"], strict=True)
        )

    return Network(init=lambda key: None, apply=apply)


def _flat(
    seen: Array, group: Group, channels: int = 1
) -> Float[Array, "n d"] | Float[Array, "n p d"]:
    if group.places:
        rows, columns = (_means(side, group.places) for side in seen.shape[1:3])
        seen = jnp.einsum(
            "ph,qw,nhwc->npqc", rows, columns, seen, precision=jax.lax.Precision.HIGHEST
        )
    if not group.windows:
        return seen.reshape(len(seen), -1)
    return _cut(seen, group, channels if group.by_channel else 1)


def _cut(seen: Float[Array, "n h w c"], group: Group, channels: int) -> Float[Array, "n p d"]:
    assert group.windows
    n, h, w, c = seen.shape
    high, wide, count = h // group.windows, w // group.windows, group.windows
    if group.shifted:
        count -= 1
        seen = seen[:, high // 2 :, wide // 2 :][:, : high * count, : wide * count]
    cut = seen.reshape(n, count, high, count, wide, channels, c // channels)
    if group.less_mean:
        cut = cut - cut.mean(axis=(2, 4), keepdims=True)
    return cut.transpose(0, 1, 3, 5, 2, 4, 6).reshape(n, count**2 * channels, -1)


def _means(side: int, places: int) -> Float[np.ndarray, "places side"]:
    """The matrix that averages a side over so many stretches.

    Where they do not divide it, neighbors share a pixel.
    """
    ends = [(side * k // places, -(-side * (k + 1) // places)) for k in range(places)]
    return np.stack(
        [(np.arange(side) >= low) & (np.arange(side) < high) for low, high in ends]
    ).astype(np.float32) / np.asarray([[high - low] for low, high in ends], np.float32)
