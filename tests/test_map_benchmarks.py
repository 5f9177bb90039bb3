"""The maps of scripts/map_benchmarks.py are gradients of convex functions, and its files pairs."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts import map_benchmarks
from tests.support import REPOSITORY

KINDS = {"gaussian": map_benchmarks.gaussian, "mixture": map_benchmarks.mixture}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_the_map_is_monotone_and_its_derivative_symmetric(kind, dim):
    """What holds exactly of gradients of convex functions."""
    benchmark, rng = KINDS[kind](dim, 3), np.random.default_rng(dim)
    x, y = (benchmark.draw(rng, 2_000) for _ in range(2))
    rise = (benchmark.transport(x) - benchmark.transport(y)) * (x - y)
    assert (rise.sum(axis=1) > 0.01 * ((x - y) ** 2).sum(axis=1)).all()
    step = 1e-5 * np.eye(dim)
    for point in x[:20]:
        ahead, behind = (benchmark.transport(point + sign * step) for sign in (1, -1))
        derivative = (ahead - behind) / 2e-5
        scale = np.abs(derivative).max()
        np.testing.assert_allclose(derivative, derivative.T, atol=1e-6 * scale)
        assert np.linalg.eigvalsh((derivative + derivative.T) / 2)[0] > 0.01


def test_the_gradient_is_that_of_the_formula():
    drawn = map_benchmarks.potential(5, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((200, 5))
    t = 0.1 * 5**0.5

    def u(x):
        pieces = (jnp.einsum("jkd,d->jk", drawn.slopes, x) + drawn.offsets) / t
        return 0.15 * jnp.sum(x**2) + t * jnp.sum(jax.nn.logsumexp(pieces, axis=1))

    points = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(jax.vmap(u)(points), drawn.value(x), rtol=1e-4)
    np.testing.assert_allclose(jax.vmap(jax.grad(u))(points), drawn.gradient(x), atol=2e-3)


def test_the_files_are_of_one_map_and_never_change(tmp_path):
    read = []
    for name in ("one", "two"):
        words = ["--dim", "3", "--kind", "mixture", "--size", "400", "--out", tmp_path / name]
        script = REPOSITORY / "scripts/map_benchmarks.py"
        done = subprocess.run(
            [sys.executable, script, *words], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert f"--set truth={tmp_path / name}/T.npz" in done.stdout
        read.append(
            {
                f"{file} {array}": np.load(tmp_path / name / f"{file}.npz")[array]
                for file, array in (("X", "x"), ("Y", "x"), ("T", "x"), ("T", "y"))
            }
        )
    one, two = read
    for name, points in one.items():
        np.testing.assert_array_equal(points, two[name])
        assert points.dtype == np.float32
        assert points.shape == ((8_192, 3) if name.startswith("T") else (400, 3))
    carry = map_benchmarks.mixture(3, 0).transport
    np.testing.assert_allclose(carry(one["T x"].astype(np.float64)), one["T y"], rtol=1e-5)
    # training sees none of the points by which its map is measured, and no pairs
    assert not np.isin(one["X x"], one["T x"]).any()
    assert np.abs(carry(one["X x"].astype(np.float64)) - one["Y x"]).mean() > 0.1
