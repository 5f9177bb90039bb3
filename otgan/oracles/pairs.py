"""The costs of all pairs of two clouds, as a solver asks for them: held as a matrix, or made anew
from the points, a block of rows at a time, so that nothing of size n x m exists.

    C     costs, n x m                               u, f   of the rows
    K     exp((f_i + g_j - C_ij) / lam) / (n m)      v, g   of the columns
    P     diag(u) K, a plan

What is asked is a product, a minimum or a sum over rows or columns. Blocks answer by the formulas
of a matrix: what is asked of rows is put together, what is asked of columns is added up, or is the
least so far. So a product with K costs a product of the points besides, and no memory. The numbers
are those of the matrix up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from otgan.costs import GroundCost, Groups, product
from otgan.oracles.contract import hold

Kernel = Any  # K as one of the two has it: its entries, or what they are made of


@dataclass(frozen=True, eq=False)
class Matrix:
    """Costs that are held."""

    entries: Float[Array, "n m"]
    number: int | None = None  # of all pairs, where this is a block of them

    @property
    def shape(self) -> tuple[int, int]:
        """n, m."""
        n, m = self.entries.shape
        return n, m

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.entries.dtype

    def mean(self) -> Float[Array, ""]:
        """Of all pairs."""
        return jnp.mean(self.entries)

    def least_of_rows(self, g: Float[Array, " m"]) -> Float[Array, " n"]:
        """The hard c-transform: min_j C_ij - g_j."""
        return jnp.min(self.entries - g[None, :], axis=1)

    def least_of_columns(self, f: Float[Array, " n"]) -> Float[Array, " m"]:
        """The same of columns: min_i C_ij - f_i."""
        return jnp.min(self.entries - f[:, None], axis=0)

    def log_sums(self, f: Float[Array, " n"], lam: Array) -> Float[Array, " m"]:
        """Of every column the logarithm of sum_i exp((f_i - C_ij) / lam)."""
        return jax.nn.logsumexp((f[:, None] - self.entries) / lam, axis=0)

    def between(self, u: Float[Array, " n"], v: Float[Array, " m"]) -> Float[Array, ""]:
        """The sum of u_i C_ij v_j."""
        return product(product(u, self.entries), v)

    def kernel(
        self, f: Float[Array, " n"], g: Float[Array, " m"], lam: Array, hard: bool = False
    ) -> Kernel:
        """K. Where f is said to be the hard c-transform of g, its largest entries are exact."""
        above = (
            f[:, None] - (self.entries - g[None, :])
            if hard
            else f[:, None] + g[None, :] - self.entries
        )
        return jnp.exp(above / lam) / (self.number or self.entries.size)

    def rows(self, kernel: Array, v: Float[Array, " m"]) -> Float[Array, " n"]:
        """Of every row: K v."""
        return product(kernel, v)

    def columns(self, u: Float[Array, " n"], kernel: Array) -> Float[Array, " m"]:
        """Of every column: u K."""
        return product(u, kernel)

    def plan(self, u: Float[Array, " n"], kernel: Array) -> Float[Array, "n m"]:
        """P, for `pull`."""
        return u[:, None] * kernel

    def pull(self, weight: float, plan: Array, alike: bool) -> Float[Array, "n m"]:
        """The gradient of `weight` times <P, C> in the basis, P fixed. The two clouds may be alike:
        one and the same.
        """
        return weight * (plan + plan.T if alike else plan)


class Absorbed(NamedTuple):
    """What the kernel of blocks is made of."""

    f: Float[Array, " n"]
    g: Float[Array, " m"]
    lam: Float[Array, ""]


class Scaled(NamedTuple):
    """What a plan of blocks is made of."""

    u: Float[Array, " n"]
    kernel: Absorbed


@dataclass(frozen=True, eq=False)
class Blocks:
    """Costs that are made of blocks of rows, each when it is asked for. The last one is filled up
    with rows that count for nothing.
    """

    cost: GroundCost
    a: Groups  # leaves (k, rows, ...): of n points, cut into k blocks
    b: Groups  # of m points
    n: int

    @property
    def shape(self) -> tuple[int, int]:
        """n, m."""
        return self.n, len(self.b[0])

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.b[0].dtype

    def mean(self) -> Array:
        """Of all pairs."""
        n, m = self.shape
        return self.between(jnp.full(n, 1 / n, self.dtype), jnp.full(m, 1 / m, self.dtype))

    def least_of_rows(self, g: Array) -> Array:
        """Put together."""
        return self._by_row(lambda block: block.least_of_rows(g))

    def least_of_columns(self, f: Array) -> Array:
        """The least so far."""
        start = jnp.full(self.shape[1], jnp.inf, self.dtype)
        return self._over_rows(
            jnp.minimum, start, Matrix.least_of_columns, _cut(f, self.a, -jnp.inf)
        )

    def log_sums(self, f: Array, lam: Array) -> Array:
        """Added up, in the log domain."""
        start = jnp.full(self.shape[1], -jnp.inf, self.dtype)
        return self._over_rows(
            jnp.logaddexp,
            start,
            lambda block, f: block.log_sums(f, lam),
            _cut(f, self.a, -jnp.inf),
        )

    def between(self, u: Array, v: Array) -> Array:
        """Added up."""
        start = jnp.zeros((), self.dtype)
        return self._over_rows(
            jnp.add, start, lambda block, u: block.between(u, v), _cut(u, self.a)
        )

    def kernel(self, f: Array, g: Array, lam: Array, hard: bool = False) -> Kernel:
        """As it is made anew, always with exact entries."""
        del hard
        return Absorbed(f, g, lam)

    def rows(self, kernel: Absorbed, v: Array) -> Array:
        """Put together."""
        return self._by_row(
            lambda block, f: block.rows(_kernel_of(block, f, kernel), v),
            _cut(kernel.f, self.a, -jnp.inf),
        )

    def columns(self, u: Array, kernel: Absorbed) -> Array:
        """Added up."""
        return self._over_rows(
            jnp.add,
            jnp.zeros(self.shape[1], self.dtype),
            lambda block, u, f: block.columns(u, _kernel_of(block, f, kernel)),
            _cut(u, self.a),
            _cut(kernel.f, self.a, -jnp.inf),
        )

    def plan(self, u: Array, kernel: Absorbed) -> Scaled:
        """As it is made anew."""
        return Scaled(u, kernel)

    def pull(self, weight: float, plan: Scaled, alike: bool) -> tuple[Groups, Groups]:
        """Block by block, of clouds that are `alike` as of any."""
        del alike

        def look(of_b: Groups, block: tuple[Groups, Array, Array]) -> tuple[Groups, Groups]:
            a, u, f = block
            entries, pulled_by = jax.vjp(self.cost.between, a, self.b)
            matrix = self._matrix(entries)
            held = matrix.plan(u, _kernel_of(matrix, f, plan.kernel))
            of_a, more = pulled_by(matrix.pull(weight, held, alike=False))
            return jax.tree.map(jnp.add, of_b, more), of_a

        by_row = _cut(plan.u, self.a), _cut(plan.kernel.f, self.a, -jnp.inf)
        nothing = jax.tree.map(jnp.zeros_like, self.b)
        of_b, of_a = lax.scan(look, nothing, (self.a, *by_row))
        return jax.tree.map(self._put_together, of_a), of_b

    def _block(self, a: Groups) -> Matrix:
        return self._matrix(self.cost.between(a, self.b))

    def _matrix(self, entries: Array) -> Matrix:
        n, m = self.shape
        return Matrix(entries, n * m)

    def _by_row(self, ask: Callable[..., Array], *by_row: Array) -> Array:
        """What every block answers of its rows."""
        each = lax.map(lambda block: ask(self._block(block[0]), *block[1:]), (self.a, *by_row))
        return self._put_together(each)

    def _over_rows(
        self,
        combine: Callable[[Array, Array], Array],
        start: Array,
        ask: Callable[..., Array],
        *by_row: Array,
    ) -> Array:
        """What all blocks answer together."""

        def look(so_far: Array, block: tuple[Any, ...]) -> tuple[Array, None]:
            return combine(so_far, ask(self._block(block[0]), *block[1:])), None

        return lax.scan(look, start, (self.a, *by_row))[0]

    def _put_together(self, blocks: Array) -> Array:
        return blocks.reshape(-1, *blocks.shape[2:])[: self.n]


Pairs = Matrix | Blocks


def _kernel_of(block: Matrix, f: Array, kernel: Absorbed) -> Array:
    """A block's part."""
    return block.kernel(f, kernel.g, kernel.lam, hard=True)


def _cut(u: Array, blocks: Groups, filling: float = 0.0) -> Array:
    """What belongs to n rows, cut as they are."""
    k, rows, *_ = blocks[0].shape
    return _fill(u, k, rows, filling)


def _fill(leaf: Array, k: int, rows: int, filling: float = 0.0) -> Array:
    """(n, ...) as (k, rows, ...), what is missing filled up."""
    missing = [(0, k * rows - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)]
    filled = jnp.pad(leaf, missing, constant_values=filling)
    return filled.reshape(k, rows, *leaf.shape[1:])


def basis_of(cost: GroundCost, a: Groups, b: Groups, rows: int | None, alike: bool = False) -> Any:
    """What pairs are made of, and what their pull is a gradient in: their costs, or the points,
    where costs are made in blocks of so many rows.

    Of costs of a cloud and itself the second side is held fixed, and its share added to the first:
    one product in place of two.
    """
    return (a, b) if rows else cost.between(a, hold(b) if alike else b)


def pairs_of(cost: GroundCost, basis: Any, rows: int | None) -> Pairs:
    """The costs of all pairs, of their basis; blocks are of at most so many rows."""
    if not rows:
        return Matrix(basis)
    a, b = basis
    n = len(a[0])
    k = -(-n // rows)
    return Blocks(cost, tuple(_fill(group, k, -(-n // k)) for group in a), b, n)


def as_pairs(cost: Array | Pairs) -> Pairs:
    """A bare matrix of costs too."""
    return cost if isinstance(cost, Matrix | Blocks) else Matrix(jnp.asarray(cost))
