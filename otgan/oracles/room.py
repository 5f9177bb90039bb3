"""What the transport of a batch holds at once, in bytes, and the blocks that keep it to a budget.

Counted are the matrices of all pairs that a solve holds, of costs, kernels and plans; or those of a
block, and what it copies of the points. The points themselves, networks and data come on top.
`tests/oracles/test_online.py` holds these counts against what the compiler says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax

from otgan.config import Regularized, Size
from otgan.costs import GroundCost, at_once
from otgan.errors import UserError
from otgan.oracles.terms import BatchFeatures, terms_of

FLOAT = 4  # bytes
# n x m matrices that a term holds, by the cost
HELD = {"squared_l2": 3, "cosine": 3, "l1": 3, "l2": 5}
IN_BLOCK = 3  # the same of a block
COPIES, VECTORS = 2, 32  # of the points, and potentials and what they are made of
# of a block: with fewer rows too much time goes to the columns' sums, with more there is no gain
LEAST_ROWS, MOST_ROWS = 16, 512


class _Term(NamedTuple):
    """The size of a term."""

    n: int
    m: int
    numbers: int  # that the cost sees of an example
    groups: int  # and groups of features, or windows, that it is a mean over

    def held(self, cost: str) -> int:
        """Numbers that are held of its pairs."""
        return (HELD[cost] + self.groups - 1) * self.n * self.m

    @property
    def of_row(self) -> int:
        """Numbers that are held of a row of a block."""
        return (IN_BLOCK + self.groups - 1) * self.m

    @property
    def of_points(self) -> int:
        """Numbers that are copied of both sides, with blocks of any size and without."""
        return (COPIES * self.numbers + VECTORS) * (self.n + self.m)


def block_rows(oracle: Regularized, cost: GroundCost, problems: list[BatchFeatures]) -> int | None:
    """Of blocks that keep the transport of a batch within the oracle's memory; None where matrices
    of all pairs do.

    Raises:
        UserError: the smallest blocks do not.
    """
    if oracle.max_memory is None:
        return None
    stacks = [_terms(oracle.loss, stack, cost.learned) for stack in problems]
    together = [FLOAT * at_once(len(stack.y[0])) for stack in problems]
    whole, points, row = (
        max(
            bytes_of * sum(count(term) for term in terms)
            for bytes_of, terms in zip(together, stacks, strict=True)
        )
        for count in (
            lambda t: t.held(cost.name) + t.of_points,
            lambda t: t.of_points,
            lambda t: t.of_row,
        )
    )
    if whole <= oracle.max_memory.bytes:
        return None
    rows = (oracle.max_memory.bytes - points) // row
    if rows < LEAST_ROWS:
        least = Size.above(min(whole, points + LEAST_ROWS * row))
        raise UserError(
            f"oracle.max_memory = {oracle.max_memory} does not hold one block of this batch's"
            f" costs: the least that works is --memory {least}"
        )
    return min(rows, MOST_ROWS)


def _terms(loss: str, stack: BatchFeatures, learned: bool) -> list[_Term]:
    """Of one of the problems of a stack."""

    def clouds(features: BatchFeatures) -> list:
        one = jax.tree.map(lambda leaf: leaf[0], features)
        return [(t.a, t.b) for t in terms_of(loss, one, learned)]

    return [
        _Term(
            len(a[0]),
            len(b[0]),
            sum(math.prod(group.shape[1:]) for group in a),
            sum(group.shape[1] if group.ndim == 3 else 1 for group in a),
        )
        for a, b in jax.eval_shape(clouds, stack)
    ]
