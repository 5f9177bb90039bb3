"""The gradient of the Sinkhorn loss of two batches: ours, its bare matrix products, and other
libraries at the loosest setting that reaches the same certified gap.

    python -m scripts.bench.oracle                        # all cells; goes on where it was stopped
    python -m scripts.bench.oracle --search --minutes 10  # settings only, for that long
    python -m scripts.bench.oracle --sizes 256 1024       # these cells only
    python -m scripts.bench.oracle --small --out FILE     # a minute, without data sets

The points are MNIST's digits and those of a generator after 600 steps of sinkhorn-mnist, which is
trained first. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from otgan.config import Regularized
from otgan.costs import product
from otgan.data import Form
from otgan.errors import UserError
from otgan.experiments import resolve
from otgan.oracles.regularized import RegularizedDual
from otgan.oracles.terms import BatchFeatures
from otgan.problem import NOBODY, make_problem
from scripts.bench import clouds as points
from scripts.bench.clouds import Clouds
from scripts.bench.measuring import (
    Raw,
    conditions,
    ending,
    in_turn,
    milliseconds,
    missing,
    versions,
)
from scripts.bench.peers import NEEDED, PEERS, method_of
from scripts.bench.search import Searcher

OURS, PRODUCTS = "otgan", "products"
Thing = TypeVar("Thing")


class Cell(NamedTuple):
    """A row of the table: points of each cloud; lam and the gap to reach, over the mean cost."""

    n: int
    lam: float
    gap: float


CELLS = [
    *(Cell(256, *at) for at in ((0.003, 0.01), (0.03, 0.001), (0.3, 0.01))),
    *(Cell(1_024, *at) for at in ((0.003, 0.001), (0.03, 0.001), (0.3, 0.01))),
    *(Cell(4_096, *at) for at in ((0.003, 0.01), (0.03, 0.01), (0.3, 0.01))),
]
SMALL = [Cell(64, 0.03, 0.01), Cell(64, 0.3, 0.01)]


def main() -> None:
    """Parse, search, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("bench/oracle.json"))
    parser.add_argument(
        "--run", type=Path, default=Path("bench/half-trained"), help="folder of the generator"
    )
    parser.add_argument(
        "--without-data", action="store_true", help="points that need no data set and no training"
    )
    parser.add_argument("--small", action="store_true", help="the same, and two cells of 64 points")
    parser.add_argument("--search", action="store_true", help="measure nothing")
    parser.add_argument("--sizes", type=int, nargs="+", help="of the cells")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS])
    parser.add_argument("--limit", type=float, default=60, help="seconds that a peer may take")
    parser.add_argument("--seconds", type=float, default=30, help="of repetitions of a cell")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which none begins")
    args = parser.parse_args()
    cells = [c for c in (SMALL if args.small else CELLS) if not args.sizes or c.n in args.sizes]
    most = max((cell.n for cell in cells), default=0)
    if not most:
        raise UserError(f"no cell has such a size: there are {sorted({c.n for c in CELLS})}")
    made_up = args.small or args.without_data
    clouds = points.stand_in(most) if made_up else points.half_trained(args.run, CELLS[-1].n)
    of = {
        "points": "stand-in" if made_up else f"{points.RECIPE} after {points.STEPS} steps",
        "size": "small" if args.small else "whole",
    }
    run(cells, clouds, of, args)


def run(cells: list[Cell], clouds: Clouds, of: dict[str, str], args: argparse.Namespace) -> None:
    """Find the settings that are not known, then measure the cells that are not."""
    until = time.monotonic() + 60 * args.minutes
    packages = {peer: NEEDED.get(peer, [peer]) for peer in PEERS}
    there = versions(name for needs in packages.values() for name in needs)
    raw = Raw(args.out, **of, versions=there)
    absent = missing(name for peer in args.peers for name in packages[peer])
    peers = [peer for peer in args.peers if not {*packages[peer]} & {*absent}]
    todo = [
        (cell, peer)
        for cell in cells
        for peer in peers
        if not raw.find("settings", peer=peer, **cell._asdict())
    ]
    with Searcher(clouds) as searcher:
        for cell, peer in begun(todo, until):
            found = searcher.fastest(peer, *cell, args.limit)
            print(f"n {cell.n}, lam {cell.lam}, gap {cell.gap}: {peer}: {found.tried}", flush=True)
            raw.put("settings", {"peer": peer, **cell._asdict()}, found.record())
    for cell in begun([] if args.search else cells, until):
        record = raw.find("cells", **cell._asdict())
        if record is None or not {*peers} <= {*record["milliseconds"], *record["why_not"]}:
            found = settings(raw, cell, peers)
            record = raw.put(
                "cells", cell._asdict(), measure(cell, clouds.first(cell.n), found, args.seconds)
            )
        print(told(record), flush=True)


def begun(things: Sequence[Thing], until: float) -> Iterator[Thing]:
    """One after the other, as long as there is time."""
    for done, thing in enumerate(things):
        if time.monotonic() > until:
            print(f"no time for {len(things) - done} more: the same command goes on", flush=True)
            return
        yield thing


def settings(raw: Raw, cell: Cell, peers: list[str]) -> dict[str, dict[str, Any]]:
    """What was found, by peer."""
    found = {peer: raw.find("settings", peer=peer, **cell._asdict()) for peer in peers}
    return {peer: record for peer, record in found.items() if record}


def measure(
    cell: Cell, clouds: Clouds, found: dict[str, dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """One cell: all in turn, each peer at its setting."""
    before = conditions()
    x, y = jnp.asarray(clouds.x), jnp.asarray(clouds.y)
    ours, products = our_gradient(cell), jax.jit(bare_products)
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours(x, y),
        PRODUCTS: lambda: products(x, y),
    }
    for peer, setting in found.items():
        if setting["method"]:
            calls[peer] = _peer(peer, setting, clouds, cell.lam * clouds.mean_cost)
    first, taken = in_turn(calls, seconds)
    gradient, gap = first[OURS]
    if not gap <= 1.001 * cell.gap:
        raise UserError(f"ours did not reach the gap of {cell}: {float(gap):.3g} of the mean cost")
    return {
        "reached": float(gap),
        "off": {peer: off(first[peer], gradient) for peer in found if peer in first},
        "why_not": {peer: s["why_not"] for peer, s in found.items() if s["why_not"]},
        "milliseconds": {name: milliseconds(each) for name, each in taken.items()},
        "seconds": taken,
        "conditions": before,
    }


def _peer(peer: str, setting: dict[str, Any], clouds: Clouds, lam: float) -> Callable[[], Any]:
    method = method_of(peer, setting["method"])
    return lambda: method.solve(clouds, lam, setting["tolerance"]).gradient


def our_gradient(cell: Cell) -> Callable[[Array, Array], tuple[Array, Array]]:
    """As training computes it: the gradient in y, and the largest certified gap over the mean
    cost.
    """
    changes = {
        "batch.size": cell.n,
        "oracle.lam": f"{cell.lam}x",
        "oracle.epsilon": f"{cell.gap}x",
        "oracle.max_iterations": 100_000,
    }
    config = resolve(points.RECIPE, changes)
    assert isinstance(config.oracle, Regularized)
    dual = RegularizedDual(config.oracle, make_problem(config, Form((), True, (), 1.0, 0), NOBODY))

    @jax.jit
    def gradient(x: Array, y: Array) -> tuple[Array, Array]:
        (pull,), info, _ = dual.pulled(BatchFeatures((x,), (y,)), dual.fixed_epsilon, jnp.ones(()))
        return pull, info["dual_gap"] / info["mean_cost"]

    return gradient


def bare_products(x: Array, y: Array) -> list[Array]:
    """The five of n x n x d that the gradient needs, and no more: two for the costs, one for the
    plan between x and y, and two for that between y and itself.
    """
    C, D = product(x, y.T), product(y, y.T)
    return [product(C.T, x), product(D.T, y), product(D, y)]


def off(found: Any, gradient: Array) -> float:
    """How far a gradient is from ours, over its length: two that are certified to the same gap
    still differ.
    """
    found, ours = np.asarray(found, float), np.asarray(gradient, float)
    return float(np.linalg.norm(found - ours) / np.linalg.norm(ours))


def told(record: dict[str, Any]) -> str:
    """A cell in a line."""
    of = record["milliseconds"]
    peers = {**{k: f"{v / of[OURS]:.2f}" for k, v in of.items() if k not in (OURS, PRODUCTS)}}
    others = ", ".join(f"{k} {v}" for k, v in {**peers, **record["why_not"]}.items())
    return (
        f"n {record['n']}, lam {record['lam']}, gap {record['gap']}: {of[OURS]:.1f} ms,"
        f" {of[OURS] / of[PRODUCTS]:.2f} times the products; over ours: {others or 'no peer'}"
    )


if __name__ == "__main__":
    ending(main)
