"""Train an encoder on pictures without labels: by gradients until steps or seconds are used up, or
until somebody stops it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from otgan.batches import as_floats
from otgan.config import Optimizer
from otgan.errors import UserError
from otgan.learning import Method
from otgan.learning.components import pooled, with_components
from otgan.learning.methods import make_task
from otgan.models.encoders import Encoder
from otgan.optim import averaged, descend, descent

BATCH = 64
OPTIMIZER = Optimizer(learning_rate=1e-3, b1=0.9, b2=0.99, clip=10.0, warmup=50, schedule="cosine")
AVERAGE = 0.99  # decay of the encoder's moving average, which is what is kept


class TrainingProgress(NamedTuple):
    """How far a training is.

    Attributes:
        step: steps done.
        share: of what was asked for, in [0, 1].
        seconds: of training, without compilation.
        loss: of the step before.
    """

    step: int
    share: float
    seconds: float
    loss: float


class State(NamedTuple):
    """What moves."""

    parameters: dict[str, Any]  # of the encoder and of the head
    moments: Any
    average: Any  # of the encoder


ShowTraining = Callable[[TrainingProgress], None]


def train(
    encoder: Encoder,
    method: Method,
    pictures: np.ndarray,
    seed: int,
    steps: int | None,
    seconds: float | None,
    show: ShowTraining,
    stopped: Callable[[], bool],
) -> tuple[dict[str, Any] | None, TrainingProgress]:
    """Train until `steps` or `seconds` are used up, whichever comes first, or `stopped`.

    Of the two at least one is given.

    With `steps` alone it is the same function of the seed on every run on one kind of machine;
    seconds depend on what else runs.

    Args:
        encoder: reads the pictures.
        method: what it is asked to do.
        pictures: (n, h, w, c) uint8.
        seed: of everything random.
        steps: to do at most.
        seconds: to train at most, compilation left out.
        show: told of every step whose predecessor's loss is known.
        stopped: whether to end before the next step.

    Returns:
        The encoder's parameters, averaged over the last steps and with principal components as its
        last layer, and where it ended; before the first step no parameters.

    Raises:
        UserError: the loss is not finite.
    """
    start, steps_key = jax.random.split(jax.random.key(seed))
    init, advance = _programs(encoder, method)
    state, examples = init(start), jnp.asarray(pictures)
    compiled = advance.lower(state, examples, steps_key, jnp.asarray(0), jnp.asarray(0.0)).compile()
    began, step, progress = time.monotonic(), 0, TrainingProgress(0, 0.0, 0.0, float("nan"))
    pending: Array | None = None  # the step before's loss: read while the next is at work
    while progress.share < 1 and not stopped():
        state, loss = compiled(
            state, examples, steps_key, jnp.asarray(step), jnp.asarray(progress.share, jnp.float32)
        )
        before = _finite(pending, step)
        pending, step = loss, step + 1
        elapsed = time.monotonic() - began
        progress = TrainingProgress(step, _share(step, steps, elapsed, seconds), elapsed, before)
        if step > 1:
            show(progress)
    if not step:
        return None, progress
    progress = progress._replace(loss=_finite(pending, step))
    return with_components(encoder, jax.device_get(state.average), pictures), progress


def _share(step: int, steps: int | None, elapsed: float, seconds: float | None) -> float:
    return min(1.0, max(step / steps if steps else 0.0, elapsed / seconds if seconds else 0.0))


def _finite(loss: Array | None, step: int) -> float:
    value = float("nan") if loss is None else float(loss)
    if loss is not None and not np.isfinite(value):
        raise UserError(
            f"the loss is not finite after {step} steps: nothing was written; try another --seed or"
            " --method"
        )
    return value


def _programs(encoder: Encoder, method: Method) -> tuple[Any, Any]:
    """Two jitted functions: key -> state, and (state, pictures, key, number, progress) -> (state,
    loss).
    """
    task = make_task(method)

    @jax.jit
    def init(key: Array) -> State:
        first, second = jax.random.split(key)
        parameters = {
            "encoder": encoder.init(first, jnp.zeros((1, *encoder.shape)))["params"],
            "head": task.init(second, 4 * encoder.widths[-1]),
        }
        return State(parameters, descent(OPTIMIZER).init(parameters), parameters["encoder"])

    def loss(parameters: Any, x: Array, key: Array) -> Array:
        return task.loss(
            lambda x: pooled(encoder, parameters["encoder"], x), parameters["head"], x, key
        )

    @jax.jit
    def advance(
        state: State, pictures: Array, key: Array, step: Array, progress: Array
    ) -> tuple[State, Array]:
        choice, views = jax.random.split(jax.random.fold_in(key, step))
        x = as_floats(pictures[jax.random.randint(choice, (BATCH,), 0, len(pictures))])
        value, gradient = jax.value_and_grad(loss)(state.parameters, x, views)
        parameters, moments = descend(
            OPTIMIZER, gradient, state.parameters, state.moments, progress, step
        )
        return (
            State(
                parameters, moments, averaged(state.average, parameters["encoder"], step, AVERAGE)
            ),
            value,
        )

    return init, advance
