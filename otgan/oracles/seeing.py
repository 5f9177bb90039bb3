"""What a cost sees of examples: themselves, the features of an encoder, or groups of features of a frozen network."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from otgan.clouds import Clouds, reals_at
from otgan.costs import Groups
from otgan.models import Network
from otgan.oracles.contract import Players


def see(encoder: Network | None, players: Players, clouds: Clouds, x: Float[Array, "n ..."]) -> Groups:
    """The groups of features of examples; pixels, points and an encoder's features are one group."""
    if encoder is None:
        return (x,)
    parameters: Any = players.encoder if clouds.frozen is None else clouds.frozen
    return encoder.apply(parameters, x)


def see_reals(encoder: Network | None, players: Players, clouds: Clouds, places: Int[Array, " n"]) -> Groups:
    """The same of the real examples at some places: gathered, where what is seen of all of them is kept."""
    if clouds.seen is None:
        return see(encoder, players, clouds, reals_at(clouds, places))
    return tuple(jnp.asarray(group)[places].astype(jnp.float32) for group in clouds.seen)
