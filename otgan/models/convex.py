"""Convex potentials f on R^d: the function classes of Taghvaei and Jalali (2019), section 3.

    quadratic    f(x) = <x, A x> / 2 + <b, x>,  A >= eta
    max_affine   f(x) = eta |x|^2 / 2 + smax_k (<a_k, x> + c_k)
    plq          f(x) = eta |x|^2 / 2 + smax_k (|F_k' x|^2 / 2 + <a_k, x> + c_k)
    icnn         f(x) = eta |x|^2 / 2 + sum_i q_i x_i^2 / 2 + <b, x> + <w, h_L>
                 h_1 = relu(A_1 x + b_1)^2,  h_l = corner(W_l h_{l-1} + A_l x + b_l)
                 W_l, w, q >= 0

The first is the closed form of Gaussians, the third is piecewise linear-quadratic, and the last an
input-convex network (Amos, Xu, Kolter 2017).

A kink of f is a set of points at which no gradient equals y, so that no solver of grad f(x) = y
could show a small residual there. So the two nonsmooth parts are rounded, and stay convex: `corner`
is ReLU whose slope rises from 0 to 1 over [0, 1], and smax(v) is temperature * log sum exp(v /
temperature), above the maximum by at most temperature * log(pieces).

Every class starts near |x|^2 / 2, whose map is the identity. Coordinates are the caller's, and
should have mean 0 and variance about 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from otgan import config
from otgan.errors import UserError

Params = dict[str, Any]  # of arrays

SPREAD = 1.5  # standard deviation of the points at which the planes of a max_affine touch |x|^2 / 2
# of the slopes of a plq's pieces, and of an icnn's output weights: tells units apart and leaves the
# map near the identity
ROUGHNESS = 0.1
LARGEST_SQUARE = 64  # dimension above which a matrix for each piece is refused


class Potential(NamedTuple):
    """A class of convex functions.

    `project` returns to the class after a step of an optimizer. `margin` is the smallest of the
    numbers that must not be negative (weights, eigenvalues): below 0, or NaN, the function may not
    be convex. `modulus` is a number m with f - m |x|^2 / 2 convex.
    """

    init: Callable[[Array], Params]  # from a key
    value: Callable[[Params, Array], Array]  # (parameters, n d) -> n
    project: Callable[[Params], Params]
    margin: Callable[[Params], Array]
    modulus: Callable[[Params], Array]


def make_potential(oracle: config.Convex, dim: int) -> Potential:
    """The class that a config's `oracle.potential` names, on points of `dim` coordinates.

    Raises:
        UserError: the class has a matrix for each piece, and the dimension is too large for that.
    """
    eta = oracle.strong_convexity
    match oracle.potential:
        case "quadratic":
            return _quadratic(dim, eta)
        case "max_affine":
            return _max_affine(dim, oracle.pieces, oracle.temperature, eta)
        case "plq":
            if dim > LARGEST_SQUARE:
                raise UserError(
                    f"potential 'plq' has a matrix for each piece, too large in {dim} coordinates:"
                    " use 'icnn'"
                )
            return _plq(dim, oracle.pieces, oracle.temperature, eta)
        case "icnn":
            return _icnn(dim, oracle.width, oracle.depth, eta)


def _quadratic(dim: int, eta: float) -> Potential:
    def value(params: Params, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        return 0.5 * jnp.sum((x @ params["matrix"]) * x, axis=1) + x @ params["slope"]

    def project(params: Params) -> Params:
        eigenvalues, basis = jnp.linalg.eigh((params["matrix"] + params["matrix"].T) / 2)
        return {**params, "matrix": (basis * jnp.maximum(eigenvalues, eta)[None]) @ basis.T}

    def smallest(params: Params) -> Array:
        return jnp.linalg.eigvalsh((params["matrix"] + params["matrix"].T) / 2)[0]

    return Potential(
        lambda key: {"matrix": jnp.eye(dim), "slope": jnp.zeros(dim)},
        value,
        project,
        smallest,
        smallest,
    )


def _max_affine(dim: int, pieces: int, temperature: float, eta: float) -> Potential:
    def init(key: Array) -> Params:
        touching = SPREAD * jax.random.normal(key, (pieces, dim))
        share = max(1 - eta, 0.0)
        return {"slopes": share * touching, "offsets": -share * jnp.sum(touching**2, axis=1) / 2}

    def value(params: Params, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        return _smooth_max(
            x @ params["slopes"].T + params["offsets"][None], temperature
        ) + eta / 2 * jnp.sum(x**2, axis=1)

    return Potential(init, value, lambda params: params, _finite, lambda params: jnp.asarray(eta))


def _plq(dim: int, pieces: int, temperature: float, eta: float) -> Potential:
    def init(key: Array) -> Params:
        factor = math.sqrt(max(1 - eta, 0.0)) * jnp.eye(dim)
        slopes = ROUGHNESS * jax.random.normal(key, (pieces, dim))
        return {
            "factors": jnp.tile(factor, (pieces, 1, 1)),
            "slopes": slopes,
            "offsets": jnp.zeros(pieces),
        }

    def value(params: Params, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        squares = jnp.sum(jnp.einsum("nd,kdr->nkr", x, params["factors"]) ** 2, axis=2) / 2
        pieces = squares + x @ params["slopes"].T + params["offsets"][None]
        return _smooth_max(pieces, temperature) + eta / 2 * jnp.sum(x**2, axis=1)

    return Potential(init, value, lambda params: params, _finite, lambda params: jnp.asarray(eta))


def _icnn(dim: int, width: int, depth: int, eta: float) -> Potential:
    constrained = ("inner", "output", "curvature")

    def init(key: Array) -> Params:
        keys = jax.random.split(key, 3)
        return {
            "passing": jax.random.normal(keys[0], (depth, dim, width)) / math.sqrt(dim),
            "biases": jax.random.normal(keys[1], (depth, width)),
            # rows of mean 1: activations keep their size
            "inner": jax.random.uniform(keys[2], (depth - 1, width, width)) * 2 / width,
            "output": 5 * ROUGHNESS / width * jnp.ones(width),
            # the network's own is about the rest
            "curvature": max(1 - 0.8 / dim - eta, 0.0) * jnp.ones(dim),
            "slope": jnp.zeros(dim),
        }

    def value(params: Params, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        through = jnp.einsum("nd,ldw->lnw", x, params["passing"]) + params["biases"][:, None]
        h = jax.nn.relu(through[0]) ** 2
        for weights, direct in zip(params["inner"], through[1:], strict=True):
            h = _corner(h @ weights + direct)
        return h @ params["output"] + x @ params["slope"] + (x**2) @ (params["curvature"] + eta) / 2

    def project(params: Params) -> Params:
        return {
            name: jnp.maximum(leaf, 0.0) if name in constrained else leaf
            for name, leaf in params.items()
        }

    def margin(params: Params) -> Array:
        return jnp.min(jnp.concatenate([params[name].ravel() for name in constrained]))

    return Potential(
        init, value, project, margin, lambda params: eta + jnp.min(params["curvature"])
    )


def _corner(v: Array) -> Array:
    """ReLU with its corner rounded over [0, 1]: convex, not decreasing, its slope continuous."""
    slope = jnp.clip(v, 0.0, 1.0)
    return slope * (v - slope / 2)


def _smooth_max(v: Float[Array, "n k"], temperature: float) -> Float[Array, " n"]:
    return temperature * jax.nn.logsumexp(v / temperature, axis=1)


def _finite(params: Params) -> Array:
    """The margin of a class that is convex whatever its parameters: zero, or NaN if they are not
    finite.
    """
    return sum((jnp.sum(leaf) * 0.0 for leaf in jax.tree.leaves(params)), jnp.zeros(()))
