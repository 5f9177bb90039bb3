"""A batch in parts: the mean of what each of them makes by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan import experiments
from otgan.config import Regularized
from otgan.costs import GroundCost
from otgan.data import Form
from otgan.errors import UserError
from otgan.oracles.regularized import RegularizedDual
from otgan.oracles.terms import BatchFeatures
from otgan.problem import NOBODY, Problem

PARTS, N, M = 4, 24, 16
CASES = {  # changes, whether joint, whether the cost is learned
    "regot": ({"oracle.loss": "regot"}, False, False),
    "sinkhorn": ({}, True, False),
    "independent": ({"oracle.self_term": "independent"}, False, True),
    "energy": ({"oracle.loss": "energy"}, False, True),
    "l2": ({"oracle.loss": "regot", "oracle.regularizer": "l2"}, True, False),
}


def dual(parts, changes, joint=True, learned=False):
    told = {"oracle.lam": 0.3, "oracle.epsilon": 1e-5, "oracle.parts": parts, "batch.size": 32}
    oracle = experiments.resolve("sinkhorn-grid", {**told, **changes}).oracle
    assert isinstance(oracle, Regularized)
    cost = GroundCost("squared_l2", joint, learned)
    problem = Problem(cost, NOBODY, Form((), True, (), 1.0, 0), M, N, 2, 1)
    return RegularizedDual(oracle, problem)


def pulling(found):
    return jax.jit(lambda features: found.pulled(features, found.fixed_epsilon, jnp.ones(()))[:2])


def batch(second, learned, joint):
    """Of features: one group in three windows, and for one problem on both another."""
    draw = np.random.default_rng(0)

    def groups(n):
        return tuple(
            jnp.asarray(draw.normal(size=shape), jnp.float32)
            for shape in ((n, 3, 2), *([(n, 2)] if joint else []))
        )

    x, y, x2, y2 = groups(N), groups(M), groups(N), groups(M)
    return BatchFeatures(x, y, x2 if second and learned else None, y2 if second else None)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_parts_are_batches_of_their_own(case):
    changes, joint, learned = CASES[case]
    features = batch(case == "independent", learned, joint)
    pulls, info = pulling(dual(PARTS, changes, joint, learned))(features)
    cut = [
        jax.tree.map(lambda leaf, k=k: leaf.reshape(PARTS, -1, *leaf.shape[1:])[k], features)
        for k in range(PARTS)
    ]
    alone = [*map(pulling(dual(1, changes, joint, learned)), cut)]
    for name in ("dual_value", "mean_cost", "loss_at_least", "loss_at_most"):
        np.testing.assert_allclose(
            info[name], np.mean([told[name] for _, told in alone]), rtol=1e-5, err_msg=name
        )
    np.testing.assert_allclose(info["dual_gap"], max(told["dual_gap"] for _, told in alone))
    assert int(info["dual_iterations"]) == sum(int(told["dual_iterations"]) for _, told in alone)
    whole = jax.tree.map(lambda *each: jnp.concatenate(each) / PARTS, *(pull for pull, _ in alone))
    jax.tree.map(
        lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6),
        pulls,
        whole,
    )


def test_parts_are_another_loss():
    features = batch(False, False, False)
    one, four = (
        pulling(dual(parts, {"oracle.loss": "regot"}))(features)[1] for parts in (1, PARTS)
    )
    # fewer points to choose from: dearer in the mean
    assert four["dual_value"] > 1.05 * one["dual_value"]


@pytest.mark.parametrize(
    ("changes", "said"),
    {
        "size": ({"batch.size": 30}, "oracle.parts = 4 cuts the batch: batch.size must be a mult"),
        "reals": ({"batch.size": 32, "batch.reals": 33}, "batch.reals must be a multiple of it"),
        "few": ({"batch.size": 4}, "and twice it at least, not 4"),
        "energy": (
            {"batch.size": 20, "oracle.loss": "energy"},
            "'energy' halves every part: batch.size must be a multiple of 8, not 20",
        ),
        "stratified": (
            {"batch.size": 32, "batch.draw": "stratified"},
            "parts of a stratified one are of different regions of the data",
        ),
        "warm": ({"oracle.warm_start": True, "batch.size": 32}, "leave it out, or parts = 4"),
    }.values(),
)
def test_what_cannot_be_cut_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        experiments.resolve("sinkhorn-grid", {"oracle.parts": 4, **changes})
