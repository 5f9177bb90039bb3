"""The loosest setting of another library that reaches a gap, and its fastest method.

A library's own tolerance is lowered tenfold until potentials that it returns are certified, in
double precision, to be within the gap of the optimum of both problems, and then raised again by
bisection. All of it happens in a process of its own, which is ended where a setting takes too long.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from otgan.oracles.entropic_certificate import certify
from otgan.oracles.pairs import Matrix
from scripts.bench.clouds import Clouds
from scripts.bench.measuring import timed
from scripts.bench.peers import PEERS, Method, Solved, distances, method_of

BISECTIONS = 3  # of a decade: to within a third
COMPILING = 30.0  # seconds that the first call of a setting may take on top
QUICK = 1.0  # seconds below which a call is timed again
SLOWER = 1.5  # times as long as the best so far, and a method is given up


class Attempt(NamedTuple):
    """What a setting came to."""

    gap: float  # certified, over the mean cost
    seconds: float


@dataclass(frozen=True)
class Found:
    """The fastest setting of a peer that reaches the gap, or why there is none."""

    method: str | None = None
    tolerance: float | None = None
    reached: float | None = None  # gap over the mean cost
    seconds: float | None = None
    why_not: str = ""  # "never", or how long it would take
    tried: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class Searcher:
    """A process that tries settings on one pair of clouds, from the first one on."""

    def __init__(self, clouds: Clouds):
        """Start nothing yet."""
        self.clouds, self.pool = clouds, None

    def __enter__(self) -> Searcher:
        """Nothing more."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self.pool:
            self.pool.terminate()
            self.pool = None

    def attempt(self, limit: float, *setting: Any) -> Attempt | None:
        """What a setting comes to; None where a call takes longer than `limit` seconds."""
        if not self.pool:
            self.pool = multiprocessing.get_context("spawn").Pool(1, _receive, (self.clouds,))
        try:
            tried = self.pool.apply_async(_attempt, setting).get(2 * limit + COMPILING)
        except multiprocessing.TimeoutError:
            self.__exit__()
            return None
        return tried if tried.seconds <= limit else None

    def fastest(self, peer: str, n: int, lam: float, gap: float, limit: float) -> Found:
        """The best of a peer's methods; once one has reached the gap, the others may take no longer
        than it.
        """
        best, tried, late = Found(), [], False
        for method in PEERS[peer]:
            most = min(limit, SLOWER * (best.seconds or math.inf))

            def reach(
                tolerance: float, name: str = method.name, most: float = most
            ) -> Attempt | None:
                return self.attempt(most, peer, name, n, lam, tolerance)

            tolerance, attempt = loosest(method, reach, gap)
            tried.append(f"{method.name}: {_told(tolerance, attempt)}")
            late = late or attempt is None
            if attempt and tolerance and attempt.seconds < (best.seconds or math.inf):
                best = Found(method.name, tolerance, attempt.gap, attempt.seconds)
        why = "" if best.method else f"> {limit:g} s" if late else "never"
        return replace(best, why_not=why, tried=tried)


def loosest(
    method: Method, reach: Callable[[float], Attempt | None], gap: float
) -> tuple[float | None, Attempt | None]:
    """The largest tolerance that reaches the gap and what it came to; no tolerance where none does,
    and no attempt where one took too long.
    """
    failed, tolerance = None, method.loosest
    while (attempt := reach(tolerance)) and not attempt.gap <= gap:
        failed, tolerance = tolerance, tolerance / 10
        if tolerance < method.tightest:
            return None, attempt
    if failed is None or attempt is None:
        return (tolerance if attempt else None), attempt
    for _ in range(BISECTIONS):
        between = math.sqrt(failed * tolerance)
        looser = reach(between)
        if looser and looser.gap <= gap:
            tolerance, attempt = between, looser
        else:
            failed = between
    return tolerance, attempt


def _told(tolerance: float | None, attempt: Attempt | None) -> str:
    if attempt is None:
        return "slower"
    return "never" if tolerance is None else f"{tolerance:.2g} in {attempt.seconds:.3g} s"


# --- in the other process -------------------------------------------------------------------------

CLOUDS: list[Clouds] = []


def _receive(clouds: Clouds) -> None:
    CLOUDS.append(clouds)


def _attempt(peer: str, name: str, n: int, lam: float, tolerance: float) -> Attempt:
    clouds = CLOUDS[-1].first(n)
    method = method_of(peer, name)
    solved, amount = method.solve(clouds, lam * clouds.mean_cost, tolerance), lam * clouds.mean_cost
    jax.block_until_ready(solved.gradient)
    gap = certified(solved, clouds, amount) / clouds.mean_cost

    def again() -> float:
        return timed(lambda: method.solve(clouds, amount, tolerance).gradient)[1]

    seconds = again()
    return Attempt(gap, seconds if seconds > QUICK else min(seconds, again(), again()))


def certified(solved: Solved, clouds: Clouds, lam: float) -> float:
    """The larger gap of the two problems, in double precision and units of the cost."""
    x, y = clouds.x.astype(float), clouds.y.astype(float)
    return max(
        gap_at(distances(a, y), potential, lam)
        for a, potential in zip((x, y), solved.potentials(), strict=True)
    )


def gap_at(C: np.ndarray, g: Any, lam: float) -> float:
    """Of a potential of the columns, and the one of the rows that is best with it: what a library
    has for that can only be worse. Infinite, if it is not finite.
    """
    g = np.asarray(g, float)
    if not np.isfinite(g).all():
        return math.inf
    with jax.enable_x64(True):
        cost, columns = jnp.asarray(C), jnp.asarray(g)
        rows = -lam * jax.nn.logsumexp((columns[None, :] - cost) / lam, axis=1, b=1 / len(g))
        kernel = jnp.exp((rows[:, None] + columns[None, :] - cost) / lam) / cost.size
        ones = jnp.ones_like(rows)
        return float(certify(Matrix(cost), rows, columns, kernel, ones, jnp.asarray(lam), None).gap)
