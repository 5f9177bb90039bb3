"""What every family must keep, whatever it computes."""

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.oracles.contract import INFO
from otgan.results.quantities import RUN, SCALES, STEPS
from tests.support import REPOSITORY
from tests.support.helpers import FAMILIES, setup, tiny_config

pytestmark = pytest.mark.slow

# of values whose sums may be taken in another order
FLOATS: dict[str, Any] = {"rtol": 2e-4, "atol": 1e-5}


@cache
def assembled(which):
    name, changes = FAMILIES[which]
    together = setup(tiny_config(name, **changes))
    return together._replace(data=jax.tree.map(jnp.asarray, together.data))


@cache
def solved(which):
    """The first solves of a family: its states, what it held, its infos.

    Compiled, and each as the next one starts from it.
    """
    together = assembled(which)
    state = together.system.stepper.init()
    solve = jax.jit(together.system.family.solve)
    dual, out = state.dual, []
    for i in range(3):
        before = dual
        dual, held, info = solve(dual, state.players, together.data, jax.random.key(i))
        out.append((before, dual, held, info))
    return state.players, out


def leaves(tree):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def same(a, b):
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(leaves(a), leaves(b), strict=True)
    )


@pytest.mark.parametrize("which", FAMILIES)
def test_every_solve_reports_the_same_finite_scalars(which):
    _, solves = solved(which)
    names = [info.keys() for *_, info in solves]
    assert INFO.keys() <= names[0]
    assert ("ready" in names[0]) != assembled(which).system.family.always_ready
    shared = {quantity.name for quantity in (*STEPS, *SCALES, *RUN)}
    # each says what it is
    assert names[0] <= shared | {
        quantity.name for quantity in assembled(which).system.family.quantities
    }
    assert names[0] == names[1] == names[2]
    for *_, info in solves:
        assert all(jnp.shape(value) == () for value in info.values())
        assert all(np.isfinite(float(value)) for value in info.values())
        assert bool(info["dual_converged"]) <= bool(info["dual_gap"] <= info["epsilon"])
        assert float(info["dual_gap"]) >= 0
        assert int(info["examples"]) > 0


@pytest.mark.parametrize("which", FAMILIES)
def test_what_a_family_measures_at_the_end_it_declares(which):
    together, key = assembled(which), jax.random.key(0)
    state, family = jax.eval_shape(together.system.stepper.init), together.system.family
    found = jax.eval_shape(
        family.final_metrics, state.dual, state.players, together.data, together.held_out, key
    )
    assert found.keys() <= {quantity.name for quantity in family.quantities}


@pytest.mark.parametrize("which", FAMILIES)
def test_compiled_and_not_compiled_agree(which):
    players, solves = solved(which)
    together = assembled(which)
    before, _, held, info = solves[0]
    eagerly = together.system.family.solve(before, players, together.data, jax.random.key(0))
    discrete = [x.dtype.kind in "iub" for x in leaves(held)]
    for a, b, is_discrete in zip(leaves(eagerly[1]), leaves(held), discrete, strict=True):
        assert (a == b).mean() > 0.99 if is_discrete else np.allclose(a, b, rtol=1e-2, atol=1e-3)
    for name in ("dual_value", "epsilon"):
        np.testing.assert_allclose(eagerly[2][name], info[name], **FLOATS)


@pytest.mark.parametrize("which", FAMILIES)
def test_the_same_key_gives_the_same_bits_and_another_key_others(which):
    players, solves = solved(which)
    together = assembled(which)
    before, after, held, info = solves[0]
    solve = jax.jit(together.system.family.solve)
    again = solve(before, players, together.data, jax.random.key(0))
    assert same(again, (after, held, info))
    assert not same(solve(before, players, together.data, jax.random.key(1))[1:], (held, info))


@pytest.mark.parametrize("which", FAMILIES)
def test_the_players_gradient_is_finite_and_the_held_is_fixed(which):
    players, solves = solved(which)
    together = assembled(which)
    _, dual, held, _ = solves[-1]
    family = together.system.family

    def loss(players, held):
        return family.loss(jax.tree.map(lambda leaf: leaf[0], held), players, together.data)

    value, gradient = jax.value_and_grad(loss)(players, held)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in leaves(gradient))
    if together.config.trains_generator:
        assert sum(float(np.abs(g).sum()) for g in leaves(gradient.generator)) > 0

    def through_the_solve(players):
        return loss(players, family.solve(dual, players, together.data, jax.random.key(9))[1])

    def at_the_solve(players, held):
        return loss(players, held)

    held = jax.jit(family.solve)(dual, players, together.data, jax.random.key(9))[1]
    direct, through = jax.grad(at_the_solve)(players, held), jax.grad(through_the_solve)(players)
    for a, b in zip(leaves(direct), leaves(through), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 * max(1e-6, np.abs(a).max()))


@pytest.mark.parametrize("which", FAMILIES)
def test_samples_have_the_datas_shape_and_maps_send_points_to_points(which):
    together = assembled(which)
    state = together.system.stepper.init()
    samples = together.system.sample(
        state.dual, state.average, jax.random.key(0), 50, together.data.source
    )
    assert samples.shape == (50, *together.dataset.shape)
    assert np.isfinite(samples).all()
    transport = together.system.family.transport
    if transport is not None:
        found = transport(state.dual, samples)
        assert found.points.shape == (50, 2)
        assert found.error.shape == (50,)


PARITY = """
import json, re
import jax
import numpy as np
from scripts.count_collectives import OPERATION
from jax.sharding import NamedSharding, PartitionSpec
from tests.support.helpers import CALIBRATED, FAMILIES, setup, tiny_config

def whole_matrices(text, together):
    # arrays with as many elements along two axes as the whole batch, or OTS's, and the data have
    batch, oracle = together.config.batch, together.config.oracle
    sizes = {batch.size, batch.real, batch.size // 2}
    if hasattr(oracle, "ots_batch"):
        sizes = {oracle.ots_batch, len(together.dataset.train)}
    shapes = [tuple(map(int, s.split(","))) for s in re.findall(r"[a-z]+\\d*\\[([\\d,]+)\\]", text)]
    return [shape for shape in shapes if sum(extent in sizes for extent in shape) > 1]

def flat(tree):
    return np.concatenate([np.zeros(0), *map(np.ravel, jax.tree.leaves(tree))])

def values(name, changes, devices):
    # a batch of no network's or data set's size; OTS's must be a multiple of it
    size = {} if name == "semidiscrete-grid" else {"batch.size": 80}
    # Adam divides a gradient that is nearly zero by its size, and so would show rounding alone
    sgd = {"generator.optimizer.kind": "sgd"}
    together = setup(tiny_config(name, **{**changes, **size, **sgd}), devices)
    everywhere = NamedSharding(together.mesh, PartitionSpec())
    state = jax.device_put(together.system.stepper.init(), everywhere)
    data = jax.device_put(together.data, everywhere)
    step = jax.jit(together.system.stepper.step, out_shardings=everywhere)
    program = step.lower(state, data).compile()
    text = program.as_text()
    kinds = {kind for _, kind in OPERATION.findall(text)}
    if devices > 1:
        # the batch is sharded, its sums are gathered, and nobody has a whole cost matrix; where
        # half batches are compared, examples change places, and where a cloud is with itself, the
        # blocks of its plan, of which the transposed is needed
        known = {"all-reduce", "all-gather", "collective-permute", "all-to-all"}
        # of parts each device solves its own, and all that is said are sums
        known = {"all-reduce"} if "oracle.parts" in changes else known
        assert {"all-reduce"} <= kinds <= known, (name, kinds)
        assert not whole_matrices(text, together), name
    else:
        assert not kinds
        assert name != "sinkhorn-grid" or whole_matrices(text, together)
    seen, start = [], flat(state.players)
    for _ in range(20):
        with jax.transfer_guard("disallow"):
            state, record = program(state, data)
        seen.append(float(record["dual_value"]))
    end = flat(state.players)
    return seen, end, end - start

def compared(case):
    (one, end, moved), (eight, end_8, _) = (values(*case, devices) for devices in (1, 8))
    off = float(np.linalg.norm(end_8 - end))
    scales = [max(1e-30, float(np.linalg.norm(of))) for of in (end, moved)]
    return [one, eight, *(off / scale for scale in scales)]

assert len(jax.devices()) == 8
cases = {**FAMILIES, "calibrated": CALIBRATED, "parts": ("regot-grid", {"oracle.parts": 16})}
found = {which: compared(case) for which, case in cases.items()}
print(json.dumps(found))
"""


def test_one_device_and_eight_give_the_same_numbers():
    """The transport problem is the whole batch's, so only the order of sums differs.

    And a step moves nothing between host and device.
    """
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", PARITY],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for which, (one, eight, off, off_moved) in json.loads(done.stdout.splitlines()[-1]).items():
        if which == "semidiscrete":  # the nearest of points that are equally near may be another
            np.testing.assert_allclose(eight[:3], one[:3], rtol=1e-3, err_msg=which)
            continue
        np.testing.assert_allclose(eight, one, rtol=1e-4, err_msg=which)
        assert off < 1e-5, which  # of the parameters after 20 steps
        assert off_moved < 1e-3, which  # of the way that they have gone
