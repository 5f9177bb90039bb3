"""Files of points between which the optimal map is known, to measure maps by.

    python scripts/map_benchmarks.py --dim 8 --kind mixture --seed 0 --out known
    otgan run convex-map --data known/Y.npz --set source=known/X.npz --set truth=known/T.npz

The folder gets X.npz, points of the source; Y.npz, other points of it, mapped; and T.npz, 8,192
more with their images. A map is optimal for |x - y|^2 exactly if it is the gradient of a convex
function u (Brenier). Two kinds, d coordinates, everything drawn from the seed:

    gaussian   N(n, R) to N(m, S), as in `otgan.data.points`; T the map of Bures and Wasserstein,
               affine
    mixture    3 to 10 equal Gaussians, their number drawn too: centers uniform in [-2, 2]^d,
               standard deviations in [0.3, 0.8]; to its image under T = grad u,

               u(x) = 0.3 |x|^2 / 2 + sum_j t log sum_k exp((<a_jk, x> + b_jk) / t)
               T(x) = 0.3 x + sum_j sum_k softmax_k((<a_jk, x> + b_jk) / t) a_jk

               j = 1..3, k = 1..8, a_jk from N(0, I), b_jk from N(0, d / 4), t = 0.1 sqrt(d).

The slopes are as long as points are, sqrt(d), so that the map is as far from affine in many
coordinates as in few. T stretches the narrow zones between two pieces some 5 sqrt(d) times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from otgan.config import Gaussian
from otgan.data import points
from otgan.metrics.maps import best_affine, unexplained_variance

SEED = 20210  # with the one that is given
TRUE_POINTS = 2**13
MODES, CUBE, WIDTHS = (3, 10), 2.0, (0.3, 0.8)
CURVATURE, MAXIMA, PIECES = 0.3, 3, 8
OFFSET, TEMPERATURE = 0.5, 0.1  # in units of the slopes' length, sqrt(d)

Draw = Callable[[np.random.Generator, int], np.ndarray]


class Benchmark(NamedTuple):
    """A source, and the map from it."""

    draw: Draw  # (rng, n) -> (n, d)
    transport: Callable[[np.ndarray], np.ndarray]  # (n, d) -> (n, d)


class SumOfMaxima(NamedTuple):
    """The potential u of the mixtures."""

    slopes: np.ndarray  # (j, k, d)
    offsets: np.ndarray  # (j, k)
    temperature: float

    def value(self, x: np.ndarray) -> np.ndarray:
        """u, (n, d) -> (n,)."""
        maxima = self.temperature * logsumexp(self._pieces(x), axis=2)
        return CURVATURE / 2 * (x**2).sum(axis=1) + maxima.sum(axis=1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Its gradient, (n, d) -> (n, d)."""
        shares = softmax(self._pieces(x), axis=2)
        return CURVATURE * x + np.einsum("njk,jkd->nd", shares, self.slopes)

    def _pieces(self, x: np.ndarray) -> np.ndarray:
        return (np.einsum("nd,jkd->njk", x, self.slopes) + self.offsets) / self.temperature


def main() -> None:
    """Parse, draw, write, and say how to use it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--kind", choices=("gaussian", "mixture"), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=2**16, help="points in X.npz and in Y.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the three files")
    args = parser.parse_args()
    benchmark = (gaussian if args.kind == "gaussian" else mixture)(args.dim, args.seed)
    write(benchmark, np.random.default_rng([SEED, args.dim, args.seed, 1]), args.size, args.out)
    affine = unexplained_variance(best_affine(*truth(args.out)), truth(args.out)[1])
    print(f"the best affine map leaves {affine:.1f} % of the variance unexplained; now")
    print(
        f"otgan run convex-map --data {args.out}/Y.npz --set source={args.out}/X.npz --set"
        f" truth={args.out}/T.npz"
    )


def gaussian(dim: int, seed: int) -> Benchmark:
    """Two Gaussians, means and covariances drawn from the seed."""
    source, target = (points.moments(Gaussian(dim=dim, seed=2 * seed + side)) for side in (0, 1))
    root = np.linalg.cholesky(source.covariance)
    return Benchmark(
        lambda rng, size: source.mean + rng.standard_normal((size, dim)) @ root.T,
        points.gaussian_map(source, target),
    )


def mixture(dim: int, seed: int) -> Benchmark:
    """A mixture of Gaussians, and the gradient of a sum of maxima."""
    rng = np.random.default_rng([SEED, dim, seed, 0])
    modes = rng.integers(MODES[0], MODES[1] + 1)
    centers, widths = rng.uniform(-CUBE, CUBE, (modes, dim)), rng.uniform(*WIDTHS, modes)
    return Benchmark(
        lambda rng, size: _around(centers, widths, rng.integers(modes, size=size), rng),
        potential(dim, rng).gradient,
    )


def potential(dim: int, rng: np.random.Generator) -> SumOfMaxima:
    """A potential whose slopes and offsets are drawn."""
    length = np.sqrt(dim)
    return SumOfMaxima(
        rng.standard_normal((MAXIMA, PIECES, dim)),
        OFFSET * length * rng.standard_normal((MAXIMA, PIECES)),
        TEMPERATURE * length,
    )


def _around(
    centers: np.ndarray, widths: np.ndarray, which: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    noise = rng.standard_normal((len(which), centers.shape[1]))
    return centers[which] + widths[which, None] * noise


def write(benchmark: Benchmark, rng: np.random.Generator, size: int, out: Path) -> None:
    """The three files, as float32: every image is that of the rounded point."""
    out.mkdir(parents=True, exist_ok=True)
    x, y, held_out = (
        benchmark.draw(rng, count).astype(np.float32) for count in (size, size, TRUE_POINTS)
    )
    np.savez(out / "X.npz", x=x)
    np.savez(out / "Y.npz", x=_mapped(benchmark, y))
    np.savez(out / "T.npz", x=held_out, y=_mapped(benchmark, held_out))


def truth(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The points of T.npz, and their images."""
    with np.load(out / "T.npz") as arrays:
        return arrays["x"], arrays["y"]


def _mapped(benchmark: Benchmark, x: np.ndarray) -> np.ndarray:
    return benchmark.transport(x.astype(np.float64)).astype(np.float32)


if __name__ == "__main__":
    main()
