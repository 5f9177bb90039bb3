"""Regularised transport between uniform clouds to float64's precision, by means that the oracles
share nothing with: NumPy, and damped Newton steps on the semi-dual in g, whose Hessian is a dense
matrix. For small problems.
"""

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-11  # on the sum of what columns lack or have too much
SHRINK = 3.0  # of lam, from stage to stage


class Optimum(NamedTuple):
    value: float
    plan: np.ndarray
    error: float  # sum of absolute errors of the columns' marginal


def optimum(C, lam, tau=None, regularizer="kl"):
    """The largest dual value, and the plan there; tau relaxes the columns of a KL problem."""
    C = np.asarray(C, float)
    rows = {"kl": _kl_rows, "l2": _l2_rows}[regularizer]
    g, stage = np.zeros(C.shape[1]), max(lam, np.ptp(C))
    while True:
        g = _climb(g, C, stage, tau, rows)
        if stage <= lam:
            break
        stage = max(lam, stage / SHRINK)
    value, plan, _ = _look(g, C, lam, tau, rows)
    return Optimum(value, plan, np.abs(_asked(g, tau) - plan.sum(0)).sum())


def _asked(g, tau):
    return np.full(len(g), 1 / len(g)) if tau is None else np.exp(-g / tau) / len(g)


def _look(g, C, lam, tau, rows):
    """The semi-dual's value, its plan, and minus the Hessian of the rows' part."""
    mean, plan, curvature = rows(g, C, lam)
    return mean + (g.mean() if tau is None else -tau * np.expm1(-g / tau).mean()), plan, curvature


def _kl_rows(g, C, lam):
    n, _m = C.shape
    V = (g[None] - C) / lam
    top = V.max(1, keepdims=True)
    E = np.exp(V - top)
    P = E / E.sum(1, keepdims=True) / n
    f = -lam * (np.log(E.mean(1)) + top[:, 0])
    return f.mean(), P, lambda: (np.diag(P.sum(0)) - n * P.T @ P) / lam


def _l2_rows(g, C, lam):
    n, m = C.shape
    d = np.sort(C - g[None], axis=1)
    f = (lam * m + np.cumsum(d, axis=1)) / np.arange(1, m + 1)  # were the k smallest active
    k = (d < f).sum(1)  # and so many are
    f = f[np.arange(n), k - 1]
    W = np.maximum(f[:, None] + g[None] - C, 0) / lam
    M = (W > 0) * 1.0
    value = (f - lam / 2 * (W**2).mean(1)).mean()
    return (
        value,
        W / W.size,
        lambda: (np.diag(M.sum(0)) - (M / M.sum(1, keepdims=True)).T @ M) / (lam * n * m),
    )


def _climb(g, C, lam, tau, rows):
    """Newton steps, damped until the value does not fall."""
    value, plan, curvature = _look(g, C, lam, tau, rows)
    damping = 1e-12
    for _ in range(500):
        gradient = _asked(g, tau) - plan.sum(0)
        error = np.abs(gradient).sum()
        if error < TOLERANCE or damping > 1e12:
            break
        H = curvature() + (0 if tau is None else np.diag(_asked(g, tau)) / tau)
        scale = np.trace(H) / len(g) or 1 / lam  # no curvature where each row has one column
        while True:
            after = g + np.linalg.solve(H + damping * scale * np.eye(len(g)), gradient)
            seen = _look(after, C, lam, tau, rows)
            if np.isfinite(seen[0]) and seen[0] >= value - 1e-15 * abs(value):
                break
            damping = max(10 * damping, 1e-10)
            if damping > 1e12:
                return g
        flat = seen[0] <= value and np.abs(_asked(after, tau) - seen[1].sum(0)).sum() >= error
        damping = damping * 10 if flat else max(damping / 10, 1e-12)
        g, (value, plan, curvature) = after, seen
    return g
