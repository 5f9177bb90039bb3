"""Arrays that every process of a run has as a whole."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")


def spread(tree: T, mesh: Mesh) -> T:
    """Arrays on all devices of a mesh, of processes that have the same ones: each puts its own on
    its devices.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> jax.Array:
        own = np.asarray(leaf)
        return jax.make_array_from_process_local_data(everywhere, own, own.shape)

    return jax.tree.map(put, tree)


def here(tree: T) -> T:
    """What this process has of such arrays, on one of its devices: nobody else is asked."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def of_the_leader(tree: T) -> T:
    """Process 0's values of arrays that all processes have of the same shapes, to the bit: NumPy's.

    All processes call it together.
    """
    leaves, structure = jax.tree.flatten(tree)
    own = [np.ascontiguousarray(leaf) for leaf in leaves]
    # as bytes: what adds numbers up to send them makes 0 of -0
    sent = multihost_utils.broadcast_one_to_all(
        np.concatenate([leaf.reshape(-1).view(np.uint8) for leaf in own])
    )
    ends = np.cumsum([leaf.nbytes for leaf in own])[:-1]
    return structure.unflatten(
        part.view(leaf.dtype).reshape(np.shape(as_sent))
        for part, leaf, as_sent in zip(np.split(sent, ends), own, leaves, strict=True)
    )
