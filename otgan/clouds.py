"""The two clouds that a step compares: real examples drawn from the data on the device, and latents for the generator.

Draws happen inside the jitted step from its own key, so that a run resumes exactly with nothing but its state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Key
from scipy.stats import qmc

from otgan.config import Batch
from otgan.data import Dataset
from otgan.data.strata import strata


class Clouds(NamedTuple):
    """What batches are drawn from; arrays on the device."""

    examples: Array | np.ndarray  # (N, d) float32, or (N, h, w, c) uint8
    bounds: Array | np.ndarray | None  # (size + 1,): cell i holds examples[bounds[i]:bounds[i + 1]]; None draws i.i.d.
    spread: Array | np.ndarray | None  # (size, latent_dim) in [0, 1): a Sobol sequence; None draws i.i.d.
    source: Array | np.ndarray | None = None  # examples that take the place of latents; None draws standard normal ones
    frozen: Any = None  # parameters of the network that the cost looks through, where nobody trains it
    seen: tuple[Array | np.ndarray, ...] | None = None  # (N, ...) each: what it sees of the examples, where that is kept


def make_clouds(
    dataset: Dataset, batch: Batch, latent_dim: int, source: Dataset | None = None, frozen: Any = None, seen: Any = None
) -> Clouds:
    """Lay out a dataset's training examples for a batch's way of drawing, and those of a source. The arrays are still NumPy's.

    `frozen` and `seen` are those of `Clouds`, in the order of the dataset's training examples.
    """
    examples, bounds, spread = dataset.train, None, None
    if batch.draw == "stratified":
        order, bounds = strata(examples.reshape(len(examples), -1), batch.real)
        examples, bounds = examples[order], bounds.astype(np.int32)
        seen = None if seen is None else tuple(group[order] for group in seen)
    if batch.latents == "sobol":
        powers = max(1, (batch.size - 1).bit_length())
        spread = qmc.Sobol(latent_dim, scramble=False).random_base2(powers)[: batch.size].astype(np.float32)
    return Clouds(examples, bounds, spread, source.train if source else None, frozen, seen)


def hold_out(dataset: Dataset, source: Dataset | None = None) -> Clouds:
    """The held-out examples of a dataset and of a source, drawn i.i.d. The arrays are still NumPy's."""
    return Clouds(dataset.test, None, None, source.test if source else None)


def spread_out(batch: Array, mesh: Mesh | None) -> Array:
    """Lay a batch along the mesh's axis. The transport problem stays the whole batch's: the same numbers on any number of devices."""
    return batch if mesh is None else lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))


def draw_reals(clouds: Clouds, key: Key[Array, ""], size: int) -> Float[Array, "size ..."]:
    """A batch of real examples: i.i.d., or one from each cell of the data's strata."""
    return reals_at(clouds, draw_places(clouds, key, size))


def draw_places(clouds: Clouds, key: Key[Array, ""], size: int) -> Int[Array, " size"]:
    """Where the examples of such a batch stand."""
    if clouds.bounds is None:
        return jax.random.randint(key, (size,), 0, len(clouds.examples))
    low, high = jnp.asarray(clouds.bounds[:-1]), jnp.asarray(clouds.bounds[1:])
    return low + jnp.floor(jax.random.uniform(key, (size,)) * (high - low)).astype(jnp.int32)


def reals_at(clouds: Clouds, places: Int[Array, " n"]) -> Float[Array, "n ..."]:
    """The real examples that stand there."""
    return as_floats(jnp.asarray(clouds.examples)[places])


def draw_latents(clouds: Clouds, key: Key[Array, ""], size: int, dim: int) -> Float[Array, "size ..."]:
    """A batch of standard normal latents: i.i.d., or a Sobol sequence with a fresh random shift (Cranley, Patterson 1976).

    Where there is a source, a batch of its examples, i.i.d.
    """
    if clouds.source is not None:
        index = jax.random.randint(key, (size,), 0, len(clouds.source))
        return as_floats(jnp.asarray(clouds.source)[index])
    if clouds.spread is None:
        return jax.random.normal(key, (size, dim))
    shifted = (clouds.spread + jax.random.uniform(key, (1, dim))) % 1.0
    return jax.scipy.special.ndtri(jnp.clip(shifted, 1e-6, 1 - 1e-6))


def every_real(clouds: Clouds) -> Float[Array, "n ..."]:
    """All real examples, in their order."""
    return as_floats(jnp.asarray(clouds.examples))


def every_latent(clouds: Clouds, key: Key[Array, ""], dim: int) -> Float[Array, "m ..."]:
    """All examples of the source, in their order; where there is none, as many standard normal latents as there are real examples."""
    if clouds.source is not None:
        return as_floats(jnp.asarray(clouds.source))
    return jax.random.normal(key, (len(clouds.examples), dim))


def as_floats(examples: Array) -> Float[Array, "..."]:
    """Bytes to [-1, 1]; points as they are."""
    return examples.astype(jnp.float32) / 127.5 - 1 if examples.dtype == jnp.uint8 else examples


def as_bytes(pictures: Float[Array, "..."]) -> np.ndarray:
    """[-1, 1] to bytes, rounded."""
    return np.asarray(jnp.clip(jnp.round((pictures + 1) * 127.5), 0, 255).astype(jnp.uint8))
