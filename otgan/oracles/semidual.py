"""The semi-dual of transport from a continuous source to N training points, by exact search over
all of them.

Chen, Telgarsky, Zhang, Bailey, Hsu, Peng (ICML 2019), step OTS; the semi-dual is Genevay, Cuturi,
Peyre, Bach (NIPS 2016). With x = G(z) and one potential psi_i for each training point y_i,

    V(psi) = E_x min_i (c(x, y_i) + psi_i) - mean psi,        W_c = max over psi of V

and the minimizer is where x is carried: its Laguerre cell. The slope of V in psi_i is the share of
mass that y_i receives less 1/N. The search is a maximization of scores k(x, y_i) - offset_i, in
blocks of training points, so that memory holds a block and never N x d floats:

    l1            k = -|x - y|_1      offset_i = psi_i
    squared_l2    k = <x, y>          offset_i = |y_i|^2 / 2 + psi_i

Potentials are in units of the score throughout. One of them is one unit of the cost for l1 and two
for squared_l2; `COST_PER_SCORE` converts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from otgan.batches import as_floats
from otgan.costs import product

COST_PER_SCORE = {"l1": 1.0, "squared_l2": 2.0}

# training points in a block: their scores stay in a core's cache
BLOCK_ROWS = {"l1": 200, "squared_l2": 1_000}
L1_STRIDE = 16  # coordinates that one pass over those sums takes in


class Targets(NamedTuple):
    """The training points, as they lie on the device."""

    examples: Array  # (N, ...) float32, or bytes, which become floats block by block
    # (1, d) or (1, 1): taken off x and y, so that a common offset does not cost digits of inner
    # products
    center: Array

    @property
    def size(self) -> int:
        """N."""
        return len(self.examples)


class Assignment(NamedTuple):
    """Where each of n source points goes."""

    # of the training point with the best score; the first, where several are best
    index: Int[Array, " n"]
    score: Float[Array, " n"]  # that best score, its offset taken off


class MassBalance(NamedTuple):
    """How evenly the training points receive mass.

    All are 1 and 0 in the ideal, up to the noise of counting.
    """

    # of the authors' histogram over the points' indices, over the mean bin
    least_bin: Float[Array, ""]
    worst_bin: Float[Array, ""]
    # variance of the points' masses over their squared mean, less what counting alone brings about
    chi_square: Float[Array, ""]
    chi_square_of_bins: Float[Array, ""]  # the same of the histogram's bins
    without_mass: Float[Array, ""]  # share of the points that received none


# --- the search -----------------------------------------------------------------------------------


def half_squares(targets: Targets) -> Float[Array, " N"]:
    """|y_i|^2 / 2."""
    rows = _rows(targets, "squared_l2")

    def add(squares: Array, k: Array) -> tuple[Array, None]:
        start, y, _ = _block(targets, rows, k)
        return lax.dynamic_update_slice(squares, 0.5 * jnp.sum(y * y, axis=1), (start,)), None

    return lax.scan(add, jnp.zeros(targets.size, targets.center.dtype), _blocks(targets, rows))[0]


def assign(
    targets: Targets, x: Float[Array, "n d"], offset: Float[Array, " N"], cost: str
) -> Assignment:
    """The exact maximum of the scores of each x over all training points."""
    rows = _rows(targets, cost)

    def look(best: Assignment, k: Array) -> tuple[Assignment, None]:
        start, scores, _ = _scores(targets, x, offset, cost, rows, k)
        return _better(best, scores, start, targets.size), None

    return lax.scan(look, _nowhere(x), _blocks(targets, rows))[0]


def shortfall(
    targets: Targets,
    x: Float[Array, "n d"],
    offset: Float[Array, " N"],
    best: Float[Array, " n"],
    cost: str,
) -> Float[Array, " N"]:
    """By how much each training point's score is below the best one, at the x where it is so by
    least; 0 for points that some x goes to.

    A point's offset can fall by that much before any x goes elsewhere, which raises the semi-dual
    by a share 1/N of it.
    """
    rows = _rows(targets, cost)

    def look(short: Array, k: Array) -> tuple[Array, None]:
        start, scores, _ = _scores(targets, x, offset, cost, rows, k)
        return lax.dynamic_update_slice(short, jnp.min(best[None] - scores, axis=1), (start,)), None

    return lax.scan(look, jnp.zeros(targets.size, x.dtype), _blocks(targets, rows))[0]


def assign_softly(
    targets: Targets,
    x: Float[Array, "n d"],
    offset: Float[Array, " N"],
    lam: Float[Array, ""],
    cost: str,
) -> tuple[Float[Array, " N"], Assignment]:
    """The mass of each training point where x goes to y_i with probability softmax_i(score / lam);
    and where it goes without lam.

    The masses sum to 1. Keeps the N x n scores: 61 MB at 60,000 x 256.
    """
    rows = _rows(targets, cost)

    def look(
        carry: tuple[Assignment, Array], k: Array
    ) -> tuple[tuple[Assignment, Array], tuple[Array, Array]]:
        (best, total), (start, scores, repeated) = carry, _scores(targets, x, offset, cost, rows, k)
        scores = jnp.where(repeated[:, None], -jnp.inf, scores)
        new = _better(best, scores, start, targets.size)
        total = total * jnp.exp((best.score - new.score) / lam) + jnp.sum(
            jnp.exp((scores - new.score[None]) / lam), axis=0
        )
        return (new, total), (start, scores)

    (best, total), (starts, scores) = lax.scan(
        look, (_nowhere(x), jnp.zeros(len(x), x.dtype)), _blocks(targets, rows)
    )
    share = 1 / (len(x) * total)
    masses = lax.map(
        lambda block: product(jnp.exp((block - best.score[None]) / lam), share), scores
    )
    return (
        jnp.zeros(targets.size, x.dtype).at[starts[:, None] + jnp.arange(rows)[None]].add(masses),
        best,
    )


def _nowhere(x: Array) -> Assignment:
    return Assignment(jnp.zeros(len(x), int), jnp.full(len(x), -jnp.inf, x.dtype))


def _better(best: Assignment, scores: Array, start: Array, size: int) -> Assignment:
    """The best so far, and of a block of scores (rows, n) whose first row is the training point
    `start`.
    """
    top = jnp.max(scores, axis=0)
    place = start + jnp.arange(len(scores))[:, None]
    # an argmax, several times faster on a CPU
    index = jnp.min(jnp.where(scores >= top[None], place, size), axis=0)
    wins = ~(top <= best.score)  # a score that is not a number wins, and is seen
    return Assignment(jnp.where(wins, index, best.index), jnp.where(wins, top, best.score))


def _scores(
    targets: Targets, x: Array, offset: Array, cost: str, rows: int, k: Array
) -> tuple[Array, Array, Array]:
    """Of the k-th block: where it starts, its scores (rows, n), and which of its rows belong to the
    block before.
    """
    start, y, repeated = _block(targets, rows, k)
    kernel = {"l1": _negative_l1, "squared_l2": _inner}[cost]
    return start, kernel(y, x) - lax.dynamic_slice_in_dim(offset, start, rows)[:, None], repeated


def _block(targets: Targets, rows: int, k: Array) -> tuple[Array, Array, Array]:
    """The k-th block of training points, as floats.

    The last is moved up to end with the data, so that all are of one size.
    """
    start = jnp.minimum(k * rows, targets.size - rows)
    y = (
        as_floats(lax.dynamic_slice_in_dim(targets.examples, start, rows)).reshape(rows, -1)
        - targets.center
    )
    return start, y, start + jnp.arange(rows) < k * rows


def _rows(targets: Targets, cost: str) -> int:
    return min(targets.size, BLOCK_ROWS[cost])


def _blocks(targets: Targets, rows: int) -> Array:
    return jnp.arange(-(-targets.size // rows))


def _inner(y: Array, x: Array) -> Array:
    return product(y, x.T)


def _negative_l1(y: Array, x: Array) -> Array:
    """-|y_i - x_j|_1, some coordinates at a time: XLA's own fused reduction takes five times as
    long on a CPU.
    """
    stride = math.gcd(x.shape[1], L1_STRIDE)
    groups = (y.T.reshape(-1, stride, len(y)), x.T.reshape(-1, stride, len(x)))

    def add(total: Array, group: tuple[Array, Array]) -> tuple[Array, None]:
        ys, xs = group
        return total - sum(jnp.abs(ys[j][:, None] - xs[j][None]) for j in range(stride)), None

    return lax.scan(add, jnp.zeros((len(y), len(x)), x.dtype), groups)[0]


# --- ascent of the semi-dual ----------------------------------------------------------------------


def hits(index: Int[Array, " n"], size: int) -> Float[Array, " size"]:
    """How often each training point was assigned. Negative indices are none."""
    return jnp.zeros(size).at[jnp.where(index < 0, size, index)].add(1.0, mode="drop")


def feedback(
    psi: Float[Array, " N"], index: Int[Array, " n"], increment: Float[Array, ""]
) -> Float[Array, " N"]:
    """A gradient step: every hit makes its point dearer by an increment, and all points cheaper
    together, so that the mean stays.
    """
    return psi + increment * (hits(index, len(psi)) - len(index) / len(psi))


def entropic_step(
    psi: Float[Array, " N"],
    masses: Float[Array, " N"],
    lam: Float[Array, ""],
    rate: float | Float[Array, ""],
) -> Float[Array, " N"]:
    """A damped step up the semi-dual smoothed by lam; it rests where every mass is 1/N.

    With u = N masses it is Sinkhorn's, lam log(u), where there is too much, so that crowded points
    are dearer at once. Where there is too little it is the gradient's, lam (u - 1): the logarithm
    would make much of points that a batch has missed by chance.
    """
    u = len(psi) * masses
    moved = psi + rate * lam * jnp.where(u < 1, u - 1, jnp.log(jnp.maximum(u, 1.0)))
    return moved - jnp.mean(moved)


# --- how even the masses are ----------------------------------------------------------------------


def mass_balance(counts: Float[Array, " N"], bins: int) -> MassBalance:
    """How even counts of assignments are. Where there are none at all, as uneven as can be."""
    size = len(counts)
    mean = jnp.maximum(jnp.mean(counts), 1e-30)
    share = jnp.arange(size) * bins // size
    per_bin = jnp.zeros(bins).at[share].add(1.0)
    histogram = jnp.zeros(bins).at[share].add(counts) / per_bin / mean
    any_mass = jnp.sum(counts) > 0

    def net(masses: Array, points: Array) -> Array:
        return jnp.where(any_mass, jnp.mean((masses - 1) ** 2 - 1 / (points * mean)), size)

    return MassBalance(
        jnp.min(histogram),
        jnp.max(histogram),
        net(counts / mean, jnp.ones(size)),
        net(histogram, per_bin),
        jnp.mean(counts == 0),
    )
