"""Other libraries' gradients of the Sinkhorn loss 2 d(x, y) - d(y, y), in y.

x and y are real and generated points, and d is entropic transport of squared distances at a weight
lam, as in `otgan.oracles.regularized`. How the libraries name it:

| library | cost | lam | its tolerance |
|---|---|---|---|
| ott-jax | squared distance | `epsilon` | `threshold`, of the marginals' sum of errors |
| geomloss | half of it | twice `blur ** 2` | 1 - `scaling`, by which the blur shrinks |
| POT | a matrix | `reg` | `stopThr`, of the marginals |
| regot | a matrix | `reg` | `tol`, of the marginals |

A library may have several methods: which is the fastest is found out by `search`. None of the four
says how far its dual is from the optimum, so every method hands over potentials, from which
`certified` tells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np
from ott.geometry.costs import SqEuclidean
from ott.geometry.epsilon_scheduler import Epsilon
from ott.tools.sinkhorn_divergence import sinkdiv

from scripts.bench import twins
from scripts.bench.clouds import Clouds

MANY = 100_000  # iterations: a tolerance ends a solve, or the time that it is given


class Solved(NamedTuple):
    """What a library came to."""

    gradient: Any  # of the loss in y, (n, d)
    potentials: Callable[[], tuple[Any, Any]]  # of the columns of d(x, y) and of d(y, y), (n,) each


class Method(NamedTuple):
    """One way of a library, on clouds at a lam in units of the cost and a tolerance."""

    name: str
    solve: Callable[[Clouds, float, float], Solved]
    loosest: float = 1.0
    tightest: float = 1e-8


# --- ott-jax --------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("init", "decay", "kernel"))
def _ott(
    x: Any, y: Any, lam: Any, threshold: Any, init: float, decay: float, kernel: bool
) -> tuple[Any, Any]:
    def loss(y: Any) -> tuple[Any, Any]:
        value, output = sinkdiv(
            y,
            x,
            cost_fn=SqEuclidean(),
            epsilon=Epsilon(lam, init=init, decay=decay),  # pyright: ignore[reportArgumentType]
            static_b=True,
            solve_kwargs={
                "threshold": threshold,
                "max_iterations": MANY,
                "lse_mode": not kernel,
            },
        )
        (of_both, _), (of_self, _), *_ = output.potentials  # y comes first
        return 2 * value, (of_both, of_self)

    return jax.grad(loss, has_aux=True)(y)


def ott(init: float, decay: float, kernel: bool, clouds: Clouds, lam: float, tol: float) -> Solved:
    """`sinkdiv` without the self term of x, lam falling from `init` times its value, iterations in
    the log domain or on the kernel.
    """
    with jax.numpy_rank_promotion("allow"):
        gradient, potentials = _ott(clouds.x, clouds.y, lam, tol, init, decay, kernel)
    return Solved(gradient, lambda: potentials)


# --- geomloss -------------------------------------------------------------------------------------


def geomloss(clouds: Clouds, lam: float, tol: float) -> Solved:
    """`SamplesLoss`, debiased. What it hands over of potentials are differences of two, so they are
    asked for again, one problem at a time and by the same schedule.
    """
    torch, library = import_module("torch"), import_module("geomloss")
    device = twins.device()
    x, y = (torch.tensor(cloud, device=device) for cloud in (clouds.x, clouds.y))
    both = np.concatenate([clouds.x, clouds.y])
    schedule = {
        "loss": "sinkhorn",
        "p": 2,
        "blur": float(np.sqrt(lam / 2)),
        "scaling": 1 - tol,
        "diameter": float(np.linalg.norm(both.max(0) - both.min(0))),
        "backend": "tensorized",
    }
    moving = y.clone().requires_grad_()
    # of half the cost it is half the loss, halved
    loss = 4 * library.SamplesLoss(**schedule)(x, moving)
    (gradient,) = torch.autograd.grad(loss, moving)

    def potentials() -> tuple[Any, Any]:
        raw = library.SamplesLoss(**schedule, debias=False, potentials=True)
        return tuple(2 * raw(a, y)[1].ravel().cpu().numpy() for a in (x, y))

    return Solved(gradient.cpu().numpy(), potentials)


# --- libraries that are given a cost matrix -------------------------------------------------------

Plan = tuple[np.ndarray, np.ndarray]  # (n, n), and the potential of its columns


def on_matrices(
    solve: Callable[[np.ndarray, float, float], Plan], clouds: Clouds, lam: float, tol: float
) -> Solved:
    """The gradient that two plans make."""
    x, y = clouds.x, clouds.y
    P, of_both = solve(distances(x, y), lam, tol)
    Q, of_self = solve(distances(y, y), lam, tol)
    drawn = y * P.sum(0)[:, None] - P.T @ x
    spread = y * (Q.sum(0) + Q.sum(1))[:, None] - Q.T @ y - Q @ y
    return Solved(4 * drawn - 2 * spread, lambda: (of_both, of_self))


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared, by one matrix product."""
    center = y.mean(0)
    x, y = x - center, y - center
    return np.maximum((x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T, 0)


def pot(method: str, C: np.ndarray, lam: float, tol: float) -> Plan:
    """`ot.sinkhorn` in single precision."""
    uniform = np.full(len(C), 1 / len(C), C.dtype)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of underflow: the potentials show it
        plan, log = import_module("ot").sinkhorn(
            uniform, uniform, C, lam, method=method, stopThr=tol, numItermax=MANY, log=True
        )
        match method:
            case "sinkhorn":
                return plan, lam * np.log(log["v"])
            case "sinkhorn_log":
                return plan, lam * log["log_v"]
            case _:
                return plan, lam * log["logv"]


def regot(method: str, C: np.ndarray, lam: float, tol: float) -> Plan:
    """In double precision, which is all that it has; its last potential is zero."""
    n = len(C)
    uniform = np.full(n, 1 / n)
    C = np.asfortranarray(C, dtype=float)
    found = getattr(import_module("regot"), method)(C, uniform, uniform, lam, tol, MANY)
    plan = found.plan.astype(np.float32)
    return plan, np.append(found.dual[n:], 0.0)


PEERS: dict[str, list[Method]] = {
    "ott-jax": [
        Method("log domain", partial(ott, 1.0, 1.0, False)),
        Method("log domain, lam falling", partial(ott, 100.0, 0.8, False)),
        Method("kernel", partial(ott, 1.0, 1.0, True)),
    ],
    "geomloss": [Method("tensorized", geomloss, loosest=0.5, tightest=1e-3)],
    "POT": [
        Method(name, partial(on_matrices, partial(pot, name)))
        for name in ("sinkhorn", "sinkhorn_stabilized", "sinkhorn_log")
    ],
    "regot": [
        Method(name, partial(on_matrices, partial(regot, name)))
        for name in ("sinkhorn_bcd", "sinkhorn_splr", "sinkhorn_ssns", "sinkhorn_lbfgs_dual")
    ],
}
"""By the name of the package."""

NEEDED = {"geomloss": ["geomloss", "torch"]}
"""Packages of a peer that are not its name alone."""


def method_of(peer: str, name: str) -> Method:
    """A peer's method of a name."""
    return next(method for method in PEERS[peer] if method.name == name)
