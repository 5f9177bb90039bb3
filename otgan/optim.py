"""Adam or plain gradient descent, as a config's sections describe it: for the players, and for what
a family trains.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from otgan.config import Optimizer

Tree = TypeVar("Tree")


def descent(optimizer: Optimizer) -> optax.GradientTransformation:
    """The direction of a descent, without the learning rate: gradients cut at `clip`, then, unless
    it is plain, scaled by Adam's moments.
    """
    clip = optax.identity() if optimizer.clip is None else optax.clip_by_global_norm(optimizer.clip)
    if optimizer.kind == "sgd":
        return clip
    return optax.chain(clip, optax.scale_by_adam(optimizer.b1, optimizer.b2))


def rate(optimizer: Optimizer, progress: Array, updates: Array) -> Array:
    """The learning rate: its rise goes by updates, its fall by the run's progress from 0 to 1."""
    shape = (
        0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0)))
        if optimizer.schedule == "cosine"
        else jnp.ones_like(progress)
    )
    return (
        optimizer.learning_rate * shape * jnp.minimum((updates + 1) / (optimizer.warmup + 1), 1.0)
    )


def descend(
    optimizer: Optimizer,
    gradient: Tree,
    parameters: Tree,
    moments: optax.OptState,
    progress: Array,
    updates: Array,
) -> tuple[Tree, optax.OptState]:
    """One step against a gradient, at the rate of the run's progress and of the updates so far."""
    direction, moments = descent(optimizer).update(gradient, moments)  # pyright: ignore[reportArgumentType]
    length = rate(optimizer, progress, updates)
    return jax.tree.map(lambda p, d: p - length * d, parameters, direction), moments


def averaged(average: Tree, parameters: Tree, updates: Array, decay: float) -> Tree:
    """The exponential moving average with the newest parameters in it; young averages forget
    faster.
    """
    kept = jnp.minimum(decay, (1 + updates) / (10 + updates))
    return jax.tree.map(lambda mean, p: mean + (1 - kept) * (p - mean), average, parameters)
