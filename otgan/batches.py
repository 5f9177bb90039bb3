"""The two batches that a step compares: real examples drawn from the data, and latents for the
generator.

Draws happen inside the jitted step from its own key, so that a run resumes exactly with nothing but
its state. Rows of the data, examples or what is seen of them, lie in one of three places, and
`rows_at` reads them from each: on the device; in a file (`otgan.data.OnDisk`), from which a program
has them fetched as it runs; or, of a file, only those that a step reads, which were fetched before
(`Fetched`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Key, Shaped
from scipy.stats import qmc

from otgan.config import Batch
from otgan.data import Dataset, OnDisk
from otgan.data.strata import strata

HELD_OUT_BYTES = 2**27


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Fetched:
    """Of rows that lie in a file, those that a step reads, or each of several steps.

    Attributes:
        places: (k,) or (steps, k) whole numbers, ascending: where they stand.
        rows: (k, ...) or (steps, k, ...): what stands there.
        size: how many the file has.
    """

    places: Any  # no types of arrays: JAX makes one of these of whatever it has in their place
    rows: Any
    size: int = field(metadata={"static": True})

    def __len__(self) -> int:
        return self.size


jax.tree_util.register_static(OnDisk)
Rows = Array | np.ndarray | OnDisk | Fetched


def rows_at(rows: Rows, places: Int[Array, " n"]) -> Shaped[Array, "n ..."]:
    """The rows that stand there."""
    if isinstance(rows, Fetched):
        return jnp.asarray(rows.rows)[jnp.searchsorted(rows.places, places)]
    if isinstance(rows, OnDisk):
        shape = jax.ShapeDtypeStruct((*places.shape, *rows.shape[1:]), rows.dtype)
        return jax.pure_callback(
            lambda places: rows[np.asarray(places)], shape, places, vmap_method="sequential"
        )
    return jnp.asarray(rows)[places]


class BatchSource(NamedTuple):
    """What batches are drawn from: an argument of every compiled function, since constants would be
    copied.
    """

    examples: Rows  # (N, d) float32, or (N, h, w, c) uint8
    # (reals + 1,): cell i holds examples[bounds[i]:bounds[i + 1]]; None draws i.i.d.
    bounds: Array | np.ndarray | None = None
    # (size, latent_dim) in [0, 1): a Sobol sequence; None draws i.i.d.
    sobol: Array | np.ndarray | None = None
    # examples that take the place of latents; None draws standard normal ones
    source: Array | np.ndarray | None = None
    # parameters of the network that the cost looks through, where nobody trains it
    frozen: Any = None
    # (N, ...) each: what it sees of the examples, where that is kept
    features: tuple[Rows, ...] | None = None


def make_batch_source(
    dataset: Dataset,
    batch: Batch,
    latent_dim: int,
    source: Dataset | None = None,
    frozen: Any = None,
    features: Any = None,
) -> BatchSource:
    """Lay out a dataset's training examples for a batch's way of drawing, and those of a source.

    The arrays are still NumPy's; examples on the disk stay there.

    `frozen` and `features` are those of `BatchSource`, in the order of the dataset's training
    examples.
    """
    examples, bounds, sobol = dataset.train, None, None
    if batch.draw == "stratified":
        examples, _ = dataset.in_memory("batch.draw = 'stratified'")
        order, bounds = strata(examples.reshape(len(examples), -1), batch.real)
        examples, bounds = examples[order], bounds.astype(np.int32)
        features = None if features is None else tuple(group[order] for group in features)
    if batch.latents == "sobol":
        powers = max(1, (batch.size - 1).bit_length())
        sobol = (
            qmc.Sobol(latent_dim, scramble=False)
            .random_base2(powers)[: batch.size]
            .astype(np.float32)
        )
    others = source.in_memory("a source", "source")[0] if source else None
    return BatchSource(examples, bounds, sobol, others, frozen, features)


def make_held_out(
    dataset: Dataset, source: Dataset | None = None, frozen: Any = None
) -> BatchSource:
    """The held-out examples of a dataset and of a source, drawn i.i.d.; of those on the disk as
    many as `HELD_OUT_BYTES` take, evenly spaced.

    The arrays are still NumPy's; `frozen` is that of `BatchSource`.
    """
    examples = dataset.test
    if isinstance(examples, OnDisk):
        count = len(examples)
        most = min(count, max(1, HELD_OUT_BYTES * count // examples.nbytes))
        examples = examples[np.arange(most) * count // most]
    others = source.in_memory("a source", "source")[1] if source else None
    return BatchSource(examples, source=others, frozen=frozen)


def shard_batch(batch: Array, mesh: Mesh | None) -> Array:
    """Lay a batch along the mesh's axis.

    The transport problem stays the whole batch's: the same numbers on any number of devices.
    """
    return (
        batch
        if mesh is None
        else lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))
    )


def draw_reals(data: BatchSource, key: Key[Array, ""], size: int) -> Float[Array, "size ..."]:
    """A batch of real examples: i.i.d., or one from each cell of the data's strata."""
    return reals_at(data, draw_places(data, key, size))


def draw_places(data: BatchSource, key: Key[Array, ""], size: int) -> Int[Array, " size"]:
    """Where the examples of such a batch stand."""
    if data.bounds is None:
        return jax.random.randint(key, (size,), 0, len(data.examples))
    low, high = jnp.asarray(data.bounds[:-1]), jnp.asarray(data.bounds[1:])
    return low + jnp.floor(jax.random.uniform(key, (size,)) * (high - low)).astype(jnp.int32)


def reals_at(data: BatchSource, places: Int[Array, " n"]) -> Float[Array, "n ..."]:
    """The real examples that stand there."""
    return as_floats(rows_at(data.examples, places))


def draw_latents(
    data: BatchSource, key: Key[Array, ""], size: int, dim: int
) -> Float[Array, "size ..."]:
    """A batch of standard normal latents: i.i.d., or a Sobol sequence with a fresh random shift
    (Cranley, Patterson 1976).

    Where there is a source, a batch of its examples, i.i.d.
    """
    if data.source is not None:
        index = jax.random.randint(key, (size,), 0, len(data.source))
        return as_floats(jnp.asarray(data.source)[index])
    if data.sobol is None:
        return jax.random.normal(key, (size, dim))
    shifted = (data.sobol + jax.random.uniform(key, (1, dim))) % 1.0
    return jax.scipy.special.ndtri(jnp.clip(shifted, 1e-6, 1 - 1e-6))


def every_latent(data: BatchSource, key: Key[Array, ""], dim: int) -> Float[Array, "m ..."]:
    """All examples of the source, in their order.

    Where there is none, as many standard normal latents as there are real examples.
    """
    if data.source is not None:
        return as_floats(jnp.asarray(data.source))
    return jax.random.normal(key, (len(data.examples), dim))


def as_floats(examples: Array) -> Float[Array, "..."]:
    """Bytes to [-1, 1]; points as they are."""
    return examples.astype(jnp.float32) / 127.5 - 1 if examples.dtype == jnp.uint8 else examples


def as_bytes(pictures: Float[Array, "..."]) -> np.ndarray:
    """[-1, 1] to bytes, rounded."""
    return np.asarray(jnp.clip(jnp.round((pictures + 1) * 127.5), 0, 255).astype(jnp.uint8))
