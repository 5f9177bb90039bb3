"""The divergence that entropic certificates are made of."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def generalized_kl(log_p: Float[Array, " n"], log_q: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of p log(p / q) - p + q, given logarithms: never negative, zero at p = q, and free of
    cancellation near it.

    A mass that has vanished is `log_p = -inf`; one that q lacks but p has makes the divergence
    infinite.
    """
    p, q, ratio = jnp.exp(log_p), jnp.exp(log_q), jnp.where(log_p == -jnp.inf, 0.0, log_p - log_q)
    # where the closed form would cancel
    series = q * ratio * ratio * (0.5 + ratio / 3 + ratio * ratio / 8)
    return jnp.sum(
        jnp.where((jnp.abs(ratio) < 1e-2) & (log_p > -jnp.inf), series, p * ratio - p + q)
    )
