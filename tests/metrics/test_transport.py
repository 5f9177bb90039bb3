import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from otgan.errors import UserError
from otgan.metrics.transport import sinkhorn_divergence, sliced_wasserstein, transport_to_all
from tests.support.semidual import optimum

# --- sliced ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(50, 50), (30, 50), (7, 1), (12, 18)])
def test_on_a_line_sliced_is_w2_itself(n, m):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 1)), 2 * rng.normal(size=(m, 1)) + 1
    exact = ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cdist(x, y, "sqeuclidean"))
    assert sliced_wasserstein(x, y, projections=3) == pytest.approx(np.sqrt(exact), rel=1e-9)


@pytest.mark.parametrize("m", [20_000, 15_000])
def test_isotropic_gaussians_by_their_closed_form(m):
    d, shift, scale = 8, 3.0, 2.0
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20_000, d)), scale * rng.normal(size=(m, d)) + shift * np.eye(d)[:1]
    truth = np.sqrt(shift**2 / d + (scale - 1) ** 2)
    assert sliced_wasserstein(x, y, projections=400) == pytest.approx(truth, rel=0.05)


def test_sliced_agrees_with_pot_on_the_same_directions():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(60, 5)) + 1
    directions = np.random.default_rng(7).standard_normal((5, 90))
    directions /= np.linalg.norm(directions, axis=0)
    theirs = ot.sliced_wasserstein_distance(x, y, projections=directions)
    assert sliced_wasserstein(x, y, projections=90, seed=7) == pytest.approx(theirs, rel=1e-9)


def test_a_set_is_at_no_distance_from_its_copies():
    x = np.random.default_rng(3).normal(size=(30, 4))
    assert sliced_wasserstein(x, np.repeat(x, 3, axis=0)) == pytest.approx(0, abs=1e-12)


# --- the Sinkhorn divergence ----------------------------------------------------------------------


def _sinkhorn_by_pot(x, y, lam):
    """POT's plan in the log domain, and its KL-regularized cost."""
    n, m = len(x), len(y)
    cost = cdist(x, y, "sqeuclidean")
    settings = {"method": "sinkhorn_log", "stopThr": 1e-10, "numItermax": 20_000}
    plan = np.asarray(ot.sinkhorn(np.full(n, 1 / n), np.full(m, 1 / m), cost, lam, **settings))
    return np.sum(plan * cost) + lam * np.sum(plan * np.log(np.maximum(plan * n * m, 1e-300)))


@pytest.mark.parametrize("lam", [0.2, 1.0])
def test_the_divergence_lies_within_its_bounds(lam):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 6)), 1.3 * rng.normal(size=(40, 6)) + 0.5
    scale = lam * cdist(x, y, "sqeuclidean").mean()
    truth = _sinkhorn_by_pot(x, y, scale) - 0.5 * (
        _sinkhorn_by_pot(x, x, scale) + _sinkhorn_by_pot(y, y, scale)
    )
    bounds = sinkhorn_divergence(x, y, lam)
    slack = 2e-6 * cdist(x, y, "sqeuclidean").mean()  # of float32 costs
    assert bounds.lower - slack <= truth <= bounds.upper + slack
    assert bounds.upper - bounds.lower < 4e-5 * cdist(x, y, "sqeuclidean").mean()
    assert bounds.lower <= bounds.value <= bounds.upper


@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_take_account_of_rounding(seed):
    """Far apart on a lattice, so that costs are exact in single precision and sums of potentials
    are not.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-3, 4, size=(2, 40, 2)).astype(float)
    y += 100 if seed < 2 else 1_000
    cross = cdist(x, y, "sqeuclidean")
    lam = float(np.float32(1e-3) * np.float32(cross.mean()))
    truth = optimum(cross, lam).value - 0.5 * sum(
        optimum(cdist(z, z, "sqeuclidean"), lam).value for z in (x, y)
    )
    bounds = sinkhorn_divergence(x, y, 1e-3)
    assert bounds.lower <= truth <= bounds.upper
    assert bounds.upper - bounds.lower < 1e-5 * cross.mean()


def test_the_divergence_of_a_set_from_itself_is_zero():
    x = np.random.default_rng(5).normal(size=(40, 6))
    bounds = sinkhorn_divergence(x, x[::-1])
    assert bounds.lower <= 0 <= bounds.upper
    assert bounds.value == pytest.approx(0, abs=1e-3)


# --- to the whole training set --------------------------------------------------------------------


# of training examples: with and without a whole number for each of 200 samples
@pytest.mark.parametrize("count", [1_000, 970])
@pytest.mark.parametrize("kind", ["like", "collapsed", "far"])
def test_w2_to_all_is_bracketed(count, kind):
    rng = np.random.default_rng(6)
    train, x = rng.normal(size=(count, 20)), rng.normal(size=(200, 20))
    x = {"like": x, "collapsed": np.repeat(x[:4], 50, axis=0), "far": x + 10}[kind]
    exact = np.sqrt(
        ot.emd2(
            np.full(200, 1 / 200),
            np.full(count, 1 / count),
            cdist(x, train, "sqeuclidean"),
            numItermax=1_000_000,
        )
    )
    bounds = transport_to_all(x.astype(np.float32), train.astype(np.float32))
    assert bounds.lower <= exact <= bounds.upper
    assert bounds.lower <= bounds.value <= bounds.upper
    assert bounds.upper - bounds.lower < 0.01 * exact


def test_bounds_hold_however_little_the_solver_did():
    rng = np.random.default_rng(7)
    train, x = (
        rng.normal(size=(300, 5)).astype(np.float32),
        rng.normal(size=(100, 5)).astype(np.float32),
    )
    exact = np.sqrt(
        ot.emd2(np.full(100, 1 / 100), np.full(300, 1 / 300), cdist(x, train, "sqeuclidean"))
    )
    bounds = transport_to_all(x, train, max_iterations=2)
    assert bounds.lower <= exact <= bounds.upper
    assert bounds.upper - bounds.lower > 0.02 * exact  # little was done


def test_bytes_are_pictures_and_one_place_to_all_is_known():
    train = np.random.default_rng(8).integers(0, 256, (1_000, 4, 4, 1)).astype(np.uint8)
    truth = np.sqrt(np.mean(np.sum((train / 127.5 - 1) ** 2, axis=(1, 2, 3))))
    bounds = transport_to_all(np.zeros((200, 4, 4, 1), np.float32), train)
    assert bounds.lower <= truth <= bounds.upper
    assert bounds.upper - bounds.lower < 1e-4 * truth


@pytest.mark.parametrize("judge", [sinkhorn_divergence, transport_to_all])
def test_where_all_points_are_one_the_distance_is_zero(judge):
    x = np.full((20, 3), 7, np.float32)
    assert judge(x, x).upper == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("judge", [sliced_wasserstein, sinkhorn_divergence, transport_to_all])
def test_no_samples_are_refused(judge):
    with pytest.raises(UserError, match="at least 1 "):
        judge(np.zeros((0, 3), np.float32), np.zeros((20, 3), np.float32))


@pytest.mark.tfds
@pytest.mark.slow
def test_w2_to_all_of_mnist_is_known_to_a_percent(tfds_dir):
    from otgan.data import prepared

    digits = prepared.load("mnist", tfds_dir)
    bounds = transport_to_all(digits.test[:1_000], digits.train[:])
    assert bounds.upper - bounds.lower < 0.01 * bounds.value
    assert 11.9 < bounds.value < 12.1  # of the first thousand test digits


@pytest.mark.parametrize("judge", [sliced_wasserstein, sinkhorn_divergence, transport_to_all])
def test_values_that_are_not_finite_are_refused(judge):
    x = np.ones((20, 3), np.float32)
    with pytest.raises(UserError, match="not finite"):
        judge(np.where(x > 0, np.float32(np.nan), x), x)
