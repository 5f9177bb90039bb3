"""Drifting, the baseline: generated points follow a kernel's field, written from its public
description alone.

Deng, Li, Li, Du, He, "Generative modeling via drifting" (arXiv 2602.04770), Algorithm 2 and its
normalizations. With x_j real, y_i = G(z_i)

    kernel      k_T(a, b) = exp(-|a - b| / T)
    weights     w_i.   the geometric mean of k_T(y_i, .) normalized over all that y_i sees, real
                       and generated, itself left out, and normalized over all y that see the
                       same point; w+ to the real points, w- to the generated ones
    field       V_T(y_i) = sum_jk w+_ij w-_ik (x_j - y_k)
    target_i    phi(y_i) + sum_T V_T(y_i) / rms(V_T), held fixed
    loss        mean |phi(y_i) - target_i|^2

in features phi whose mean distance is the root of their dimension, so that T = temperature *
sqrt(d) is so many mean distances. The loss is near a constant, for each field is divided by its own
root mean square: it says nothing of progress, and the gradient says all.

What is reported as the gap is a residual: the largest root mean square of a V_T before that
division, per coordinate, in units of those features. It is small where generated and real points
look alike to the kernel, and never zero between two batches. It is not a distance between
distributions: no function has this field for its gradient, and between modes that are far apart in
units of T it vanishes like exp(-distance / T) whatever their masses (Gretton et al., arXiv
2605.05118; docs/drifting.md shows it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from otgan.batches import BatchSource
from otgan.config import Drifting
from otgan.costs import Groups, for_each, l2, product
from otgan.oracles.contract import Family, Info, Players, generator_alone, one_update
from otgan.problem import Problem
from otgan.results.quantity import Quantity

SMALLEST = 1e-20  # a field or a scale below this is divided by this: zero stays zero
NEVER = -1e9  # the logarithm of the weight that a point gives itself


class Held(NamedTuple):
    """A batch and where its features should be.

    Leaves carry the contract's leading axis, here of one update.
    """

    z: Array  # (1, n, latents)
    targets: tuple[Array, ...]  # (1, n, p, d) of each group of features
    scales: tuple[Array, ...]  # (1, p) each: features are in units of it


def make_drifting(oracle: Drifting, problem: Problem) -> Family:
    """The family of drifting."""
    drifting = DriftingField(oracle, problem)
    named = tuple(
        Quantity(_named(t), f"last window's root mean square of the field at {t:g}")
        for t in oracle.temperatures
    )
    return Family(
        lambda key: (),
        drifting.solve,
        drifting.loss,
        generator_alone(problem),
        gap_kind="residual",
        quantities=named,
        reads=lambda data, key: problem.draw_places(data, jax.random.split(key)[0]),
    )


@dataclass(frozen=True, eq=False)
class DriftingField:
    """Targets along a kernel's field."""

    oracle: Drifting
    problem: Problem

    def solve(
        self, state: tuple, players: Players, data: BatchSource, key: Array
    ) -> tuple[tuple, Held, Info]:
        """Where the features of a batch should go."""
        key_x, key_z = jax.random.split(key)
        x = windowed(
            self.problem.real_features(players, data, self.problem.draw_places(data, key_x))
        )
        z = self.problem.draw_latents(data, key_z)
        seen = self.generated(players, data, z)
        drifts = [
            drifted(y, real, self.oracle.temperatures) for y, real in zip(seen, x, strict=True)
        ]
        targets = tuple(
            y + d.scale[None, :, None] * d.total for y, d in zip(seen, drifts, strict=True)
        )
        info = {**_info(self.oracle, drifts), "examples": self.problem.reals + self.problem.size}
        return state, one_update(Held(z, targets, tuple(d.scale for d in drifts))), info

    def loss(self, held: Held, players: Players, data: BatchSource) -> Array:
        """The squared distance of generated features to their targets, in units of each group's
        scale.
        """
        seen = self.generated(players, data, held.z)
        missed = [
            jnp.mean(jnp.mean((y - target) ** 2, axis=(0, 2)) / scale**2)
            for y, target, scale in zip(seen, held.targets, held.scales, strict=True)
        ]
        return jnp.sum(jnp.stack(missed))

    def generated(self, players: Players, data: BatchSource, z: Array) -> Groups:
        """The features of generated points, in windows."""
        return windowed(
            self.problem.features(players, data, self.problem.generate(players.generator, z))
        )


def windowed(groups: Groups) -> Groups:
    """Each group as (n, p, d): in windows, or as the one that it is."""
    return tuple(group if group.ndim == 3 else group.reshape(len(group), 1, -1) for group in groups)


class Drift(NamedTuple):
    """How one group of features should move, in units of `scale`."""

    # the fields of all temperatures, each at root mean square 1, added up
    total: Float[Array, "n d"]
    sizes: Float[Array, " t"]  # the root mean square of each before
    scale: Float[Array, ""]  # their mean distance is so many roots of d


def drifted(
    y: Float[Array, "n p d"], x: Float[Array, "m p d"], temperatures: tuple[float, ...]
) -> Drift:
    """The drift of every window by itself: total (n, p, d), sizes (p, t), scale (p,)."""
    windows = jnp.moveaxis(y, 1, 0), jnp.moveaxis(x, 1, 0)
    drifts = for_each(lambda both: drift(both[0], both[1], temperatures), windows)
    return drifts._replace(total=jnp.moveaxis(drifts.total, 0, 1))


def drift(y: Float[Array, "n d"], x: Float[Array, "m d"], temperatures: tuple[float, ...]) -> Drift:
    """Where generated features should go for real ones, at temperatures in units of the mean
    distance.
    """
    root = jnp.sqrt(jnp.asarray(y.shape[1], y.dtype))
    scale = jnp.maximum(mean_distance(y, x) / root, SMALLEST)
    # the field knows differences alone: small numbers keep their digits
    center = jnp.mean(x, axis=0, keepdims=True)
    y, x = (y - center) / scale, (x - center) / scale
    fields = jnp.stack([field(y, x, temperature * root) for temperature in temperatures])
    sizes = jnp.sqrt(jnp.mean(fields**2, axis=(1, 2)))
    return Drift(
        jnp.sum(fields / jnp.maximum(sizes, SMALLEST)[:, None, None], axis=0), sizes, scale
    )


def mean_distance(y: Float[Array, "n d"], x: Float[Array, "m d"]) -> Float[Array, ""]:
    """Of a generated point to all others, real and generated."""
    return (jnp.sum(l2(y, x)) + jnp.sum(l2(y, y))) / (len(y) * (len(x) + len(y) - 1))


def field(
    y: Float[Array, "n d"], x: Float[Array, "m d"], temperature: Float[Array, ""] | float
) -> Float[Array, "n d"]:
    """Attraction to real points less repulsion from generated ones: sum_jk w+_ij w-_ik (x_j - y_k),
    k never i.
    """
    others = jnp.where(jnp.eye(len(y), dtype=bool), NEVER, -l2(y, y) / temperature)
    logits = jnp.concatenate([-l2(y, x) / temperature, others], axis=1)
    weights = jnp.exp((jax.nn.log_softmax(logits, axis=1) + jax.nn.log_softmax(logits, axis=0)) / 2)
    attraction, repulsion = weights[:, : len(x)], weights[:, len(x) :]
    attracting, repelling = (
        jnp.sum(side, axis=1, keepdims=True) for side in (attraction, repulsion)
    )
    return product(attraction, x) * repelling - product(repulsion, y) * attracting


def _info(oracle: Drifting, drifts: list[Drift]) -> Info:
    """The value is that of the loss at the solve, which has no unit; the largest field counts."""
    value = jnp.sum(jnp.stack([jnp.mean(d.total**2) for d in drifts]))
    sizes = jnp.max(jnp.concatenate([d.sizes for d in drifts]), axis=0)
    gap = jnp.max(sizes)
    return {
        "dual_value": value,
        "dual_gap": gap,
        "dual_iterations": jnp.asarray(1),
        "dual_converged": gap <= oracle.epsilon,
        "epsilon": jnp.asarray(oracle.epsilon, value.dtype),
        **{
            _named(temperature): size
            for temperature, size in zip(oracle.temperatures, sizes, strict=True)
        },
    }


def _named(temperature: float) -> str:
    return f"field_{temperature:g}"
