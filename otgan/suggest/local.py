"""Amounts in multiples of the local scale: what it costs to move an example to its neighbor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from otgan.config import Config
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.suggest.facts import batches, nearest


def local_scale(config: Config, dataset: Dataset) -> float:
    """The median cost between a real example and the nearest other one of its batch, in units of
    the cost. Far below it a plan is a matching whatever lam is; far above it neighbors are one.

    Raises:
        UserError: the cost is not on the examples themselves.
    """
    import jax.numpy as jnp

    from otgan.costs import make_cost

    if config.cost.features != "pixels":
        raise UserError(
            "a local scale is known of costs on points or pixels alone: give amounts in multiples"
            " of the mean cost, such as 0.1x"
        )
    cost, found = make_cost(config.cost.name), []
    for batch in batches(len(dataset.train), config.batch.real):
        examples = dataset.train[batch]
        values = jnp.asarray(
            examples.astype(np.float32) / 127.5 - 1 if dataset.is_images else examples
        )
        found.append(nearest(np.array(cost(values, values))))
    scale = float(np.median(np.concatenate(found)))
    if not np.isfinite(scale):
        raise UserError(
            "half of the examples or more are all the same, so there is no local scale: give"
            " amounts in multiples of the mean cost, such as 0.1x"
        )
    return scale


def in_units_of_cost(amounts: Mapping[str, str], scale: float) -> dict[str, float]:
    """Amounts by key as plain numbers, four digits of them."""
    return {key: float(f"{float(text.strip()[:-1]) * scale:.4g}") for key, text in amounts.items()}
